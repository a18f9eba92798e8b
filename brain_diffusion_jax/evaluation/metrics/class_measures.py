"""Numbers for images of classes: Inception-style score, fidelity to the requested class, Frechet distance by class.

Everything is counted at equal N, so that no set looks better for being larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.bootstrap import Estimate, interval
from brain_diffusion_jax.evaluation.metrics.frechet import frechet_interval

MEASURES = ("frechet", "score", "fidelity")


def check_probabilities(probabilities: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Class probabilities as float64; refuses rows that are no distribution."""
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not len(p) or not np.isfinite(p).all() or p.min() < -1e-6 or np.abs(p.sum(1) - 1).max() > 1e-3:
        raise InputError("probabilities", "values", f"shape {p.shape}", "[n, classes], each row >= 0 with sum 1")
    return np.clip(p, 1e-12, 1)


def inception_style_score(probabilities: Float[np.ndarray, "n k"]) -> float:
    """exp of the mean KL divergence of p(class | image) from its mean (Salimans et al. 2016, eq. 1).

    1 (all images get the same answer) to k (confident, all classes alike). It is called the Inception score
    only with Inception's own classes; here the classifier's name must stand beside it.
    """
    p = check_probabilities(probabilities)
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))


def confusion(requested: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n k"]) -> Int[np.ndarray, "k k"]:
    """Counts: row requested, column the classifier's answer."""
    p = check_probabilities(probabilities)
    counts = np.zeros((p.shape[1],) * 2, int)
    np.add.at(counts, (np.asarray(requested, int), p.argmax(1)), 1)
    return counts


def equal_numbers(labels: Sequence[np.ndarray], classes: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of each set with the same number of each class in all sets: the smallest count."""
    chosen: list[list[np.ndarray]] = [[] for _ in labels]
    for number in range(classes):
        rows = [np.flatnonzero(np.asarray(own) == number) for own in labels]
        count = min(map(len, rows))
        for out, r in zip(chosen, rows, strict=True):
            out.append(np.sort(rng.permutation(r)[:count]))
    return [np.concatenate(parts) for parts in chosen]


def measure(
    features: Float[np.ndarray, "n d"],
    probabilities: Float[np.ndarray, "n k"],
    requested: Int[np.ndarray, " n"],
    real_features: Float[np.ndarray, "m d"],
    real_labels: Int[np.ndarray, " m"],
    words: Sequence[str],
    *,
    seed: int = 0,
    replicates: int = 0,
) -> dict[str, Any]:
    """One row of the table: pooled and per class, at equal N of both sets.

    requested: -1 where no class was; a set with such images is measured as a whole only.
    pictures (how many), frechet, score, fidelity (fraction that the classifier takes for the requested class), and
    the same by class (a class with fewer than 2 images on either side has None for its distance).
    intervals: [low, high] at 95 % of the same numbers, by `replicates` resamples of images.
    """
    requested, real_labels = np.asarray(requested, int), np.asarray(real_labels, int)
    rng = np.random.default_rng(seed)
    p = check_probabilities(probabilities)
    known = bool((requested >= 0).all())
    if known:
        mine, real = equal_numbers([requested, real_labels], len(words), rng)
    else:
        count = min(len(requested), len(real_labels))
        mine, real = (np.sort(rng.permutation(n)[:count]) for n in (len(requested), len(real_labels)))
    right = (p.argmax(1) == requested).astype(float)
    options: dict[str, Any] = {"replicates": replicates, "seed": seed}

    def numbers(a: np.ndarray, b: np.ndarray, every: np.ndarray) -> dict[str, Any]:
        """a, b: rows of both sets at equal N; every: all rows that show how well the class was met."""
        estimates: dict[str, Estimate | None] = dict.fromkeys(MEASURES)
        if min(len(a), len(b)) > 1:
            estimates["frechet"] = frechet_interval(features[a], real_features[b], _ids(a), _ids(b), **options)
        if len(a):
            estimates["score"] = interval(lambda rows: inception_style_score(p[a[rows]]), _ids(a), **options)
        if known and len(every):
            estimates["fidelity"] = interval(lambda rows: float(right[every[rows]].mean()), _ids(every), **options)
        row: dict[str, Any] = {name: None if e is None else e.value for name, e in estimates.items()}
        if replicates:
            row["intervals"] = {name: [e.low, e.high] for name, e in estimates.items() if e is not None}
        return {"pictures": len(a), **row}

    by_class: dict[str, Any] = {}
    for number, word in enumerate(words):
        a, b = mine[requested[mine] == number], real[real_labels[real] == number]
        by_class[word] = numbers(a, b, np.flatnonzero(requested == number))
    return {
        **numbers(mine, real, np.arange(len(requested))),
        "by_class": by_class,
        "confusion": confusion(requested, p).tolist() if known else None,
    }


def _ids(rows: np.ndarray) -> list[str]:
    return [str(row) for row in rows]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows)])


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
    cells = (
        [name, str(row["pictures"]), *(number(row, measure) for measure in MEASURES)]
        + [number(row["by_class"][w], "frechet") for w in words]
        for name, row in rows.items()
    )
    return markdown(head, cells)


def confusion_table(counts: Sequence[Sequence[int]], words: Sequence[str]) -> str:
    """`confusion` as a Markdown table."""
    rows = ([word, *map(str, row)] for word, row in zip(words, counts, strict=True))
    return markdown(["requested", *(f"seen as {w}" for w in words)], rows)
