"""Numbers for pictures of classes: Inception-style score, fidelity to the asked class, Frechet distance by class.

Everything is counted at equal N, so that no set looks better for being larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import frechet
from brain_diffusion_jax.evaluation.metrics.bootstrap import Estimate, interval, intervals_of_two

MEASURES = ("frechet", "score", "fidelity")


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
    replicates: int = 0,
) -> dict[str, Any]:
    """One row of the table: pooled and per class, at equal N of both sets.

    asked: -1 where no class was asked for; a set with such pictures is measured as a whole only.
    pictures, frechet, score, fidelity (share that the classifier takes for the asked class), and the
    same by class (a class with fewer than 2 pictures on either side has None for its distance).
    intervals: [low, high] at 95 % of the same numbers, by `replicates` resamples of pictures.
    """
    asked, real_labels = np.asarray(asked, int), np.asarray(real_labels, int)
    rng = np.random.default_rng(seed)
    p = check_probabilities(probabilities)
    known = bool((asked >= 0).all())
    if known:
        mine, real = equal_numbers([asked, real_labels], len(words), rng)
    else:
        count = min(len(asked), len(real_labels))
        mine, real = (np.sort(rng.permutation(n)[:count]) for n in (len(asked), len(real_labels)))
    right = (p.argmax(1) == asked).astype(float)
    options: dict[str, Any] = {"replicates": replicates, "seed": seed}

    def numbers(a: np.ndarray, b: np.ndarray, all_asked: np.ndarray) -> dict[str, Estimate | None]:
        """a, b: rows of both sets at equal N; all_asked: every row that shows how well the class was met."""
        found: dict[str, Estimate | None] = dict.fromkeys(MEASURES)
        if min(len(a), len(b)) > 1:
            found["frechet"] = intervals_of_two(
                lambda i, j: [frechet.frechet_distance(features[a[i]], real_features[b[j]])],
                *([str(i) for i in rows] for rows in (a, b)),
                **options,
            )[0]
        if len(a):
            found["score"] = interval(lambda rows: inception_style_score(p[a[rows]]), [str(i) for i in a], **options)
        if known and len(all_asked):
            found["fidelity"] = interval(
                lambda rows: float(right[all_asked[rows]].mean()), [str(i) for i in all_asked], **options
            )
        return found

    def flat(found: dict[str, Estimate | None]) -> dict[str, Any]:
        values: dict[str, Any] = {name: None if e is None else e.value for name, e in found.items()}
        if replicates:
            values["intervals"] = {name: [e.low, e.high] for name, e in found.items() if e is not None}
        return values

    by_class: dict[str, Any] = {}
    for number, word in enumerate(words):
        a, b = mine[asked[mine] == number], real[real_labels[real] == number]
        by_class[word] = {"pictures": len(a), **flat(numbers(a, b, np.flatnonzero(asked == number)))}
    return {
        "pictures": len(mine),
        **flat(numbers(mine, real, np.arange(len(asked)))),
        "by_class": by_class,
        "confusion": confusion(asked, p).tolist() if known else None,
    }


def table(rows: dict[str, dict[str, Any]], features: str = "") -> str:
    """Rows of `measure` as a Markdown table. features: name of what the Frechet distances are on."""

    def number(row: dict[str, Any], name: str) -> str:
        if row[name] is None:
            return "-"
        low, high = row.get("intervals", {}).get(name, (np.nan, np.nan))
        return f"{row[name]:.3g}" + (f" [{low:.3g}, {high:.3g}]" if np.isfinite(low) else "")

    words = list(next(iter(rows.values()))["by_class"])
    distance = f"FD[{features}]" if features else "Frechet"
    head = ["set", "N", distance, "score", "class fidelity", *(f"FD {w}" for w in words)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        cells = [name, str(row["pictures"]), *(number(row, measure) for measure in MEASURES)]
        cells += [number(row["by_class"][w], "frechet") for w in words]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def confusion_table(counts: Sequence[Sequence[int]], words: Sequence[str]) -> str:
    """`confusion` as a Markdown table."""
    lines = ["| asked | " + " | ".join(f"seen as {w}" for w in words) + " |", "|" + "---|" * (len(words) + 1)]
    lines += [f"| {word} | " + " | ".join(map(str, row)) + " |" for word, row in zip(words, counts, strict=True)]
    return "\n".join(lines)
