"""Numbers for pictures of classes: Inception-style score, fidelity to the asked class, Frechet distance by class.

Everything is counted at equal N, so that no set looks better for being larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation import frechet


def check_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Class probabilities as float64 [n, k]; refuses rows that are no distribution."""
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not len(p) or not np.isfinite(p).all() or p.min() < -1e-6 or np.abs(p.sum(1) - 1).max() > 1e-3:
        raise InputError("probabilities", "values", f"shape {p.shape}", "[n, classes], each row >= 0 with sum 1")
    return np.clip(p, 1e-12, 1)


def inception_style_score(probabilities: Float[np.ndarray, "n k"]) -> float:
    """exp of the mean KL divergence of p(class | picture) from its mean (Salimans et al. 2016, eq. 1).

    1 (all pictures say the same) to k (confident, all classes alike). It is called the Inception score
    only with Inception's own classes; here the classifier's name must stand beside it.
    """
    p = check_probabilities(probabilities)
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))


def confusion(asked: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n k"]) -> Int[np.ndarray, "k k"]:
    """Counts: row asked, column what the classifier says."""
    p = check_probabilities(probabilities)
    table = np.zeros((p.shape[1],) * 2, int)
    np.add.at(table, (np.asarray(asked, int), p.argmax(1)), 1)
    return table


def equal_numbers(
    labels: Sequence[np.ndarray], classes: int, rng: np.random.Generator, most: int | None = None
) -> list[np.ndarray]:
    """Rows of each set with the same number of each class in all sets: the smallest count (at most `most`)."""
    chosen: list[list[np.ndarray]] = [[] for _ in labels]
    for word in range(classes):
        rows = [np.flatnonzero(np.asarray(found) == word) for found in labels]
        count = min(min(len(r) for r in rows), most or 10**9)
        for out, r in zip(chosen, rows, strict=True):
            out.append(np.sort(rng.permutation(r)[:count]))
    return [np.concatenate(parts) for parts in chosen]


def measure(
    features: Float[np.ndarray, "n d"],
    probabilities: Float[np.ndarray, "n k"],
    asked: Int[np.ndarray, " n"],
    real_features: Float[np.ndarray, "m d"],
    real_labels: Int[np.ndarray, " m"],
    words: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """One row of the table: pooled and per class, at equal N of both sets.

    pictures, frechet, score, fidelity (share that the classifier takes for the asked class), and the
    same by class (a class with fewer than 2 pictures on either side has None for its distance).
    """
    asked, real_labels = np.asarray(asked, int), np.asarray(real_labels, int)
    rng = np.random.default_rng(seed)
    mine, real = equal_numbers([asked, real_labels], len(words), rng)
    p = check_probabilities(probabilities)
    right = p.argmax(1) == asked

    def distance(a: np.ndarray, b: np.ndarray) -> float | None:
        return frechet.frechet_distance(features[a], real_features[b]) if min(len(a), len(b)) > 1 else None

    by_class: dict[str, Any] = {}
    for number, word in enumerate(words):
        a, b = mine[asked[mine] == number], real[real_labels[real] == number]
        by_class[word] = {
            "pictures": len(a),
            "frechet": distance(a, b),
            "fidelity": float(right[asked == number].mean()) if (asked == number).any() else None,
            "score": inception_style_score(p[a]) if len(a) else None,
        }
    return {
        "pictures": len(mine),
        "frechet": distance(mine, real),
        "score": inception_style_score(p[mine]) if len(mine) else None,
        "fidelity": float(right.mean()),
        "by_class": by_class,
        "confusion": confusion(asked, p).tolist(),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Rows of `measure` as a Markdown table."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    words = list(next(iter(rows.values()))["by_class"])
    head = ["set", "N", "Frechet", "score", "class fidelity", *(f"Frechet {w}" for w in words)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        cells = [name, str(row["pictures"]), number(row["frechet"]), number(row["score"]), number(row["fidelity"])]
        cells += [number(row["by_class"][w]["frechet"]) for w in words]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
