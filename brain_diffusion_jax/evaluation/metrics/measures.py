"""The numbers of one set of pictures, each with its interval over people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from brain_diffusion_jax.evaluation.metrics import anatomy
from brain_diffusion_jax.evaluation.metrics.bootstrap import (
    Estimate,
    interval,
    intervals,
    intervals_of_two,
    split_halves,
)
from brain_diffusion_jax.evaluation.metrics.frechet import frechet_distance
from brain_diffusion_jax.evaluation.metrics.kid import cubic_kernel, mmd2, mmd2_of_kernels
from brain_diffusion_jax.evaluation.metrics.precision_recall import Manifold, scores_of_distances, squared_distances
from brain_diffusion_jax.evaluation.metrics.ssim import mean_of_pairs
from brain_diffusion_jax.evaluation.probes.condition_fidelity import (
    Agreement,
    agreement,
    categorical_accuracy,
    undilute,
)
from brain_diffusion_jax.evaluation.probes.features import Features, require_same

Numbers = dict[str, dict[str, Any]]
# Where pictures and dimensions both are more, one Frechet distance takes seconds: fewer resamples are drawn.
_WIDE, _WIDE_REPLICATES = 512, 20
# Neighbours and kernels of all pairs: their spread is known well enough after this many.
_PAIRED_REPLICATES = 40


def distances(
    generated: Features, real: Features, people: Sequence[str], real_people: Sequence[str], replicates: int, seed: int
) -> Numbers:
    """Frechet and kernel distance, named after the extractor."""
    require_same(real, generated)
    x, y = generated.values.astype(np.float64), real.values.astype(np.float64)
    wide = min(replicates, _WIDE_REPLICATES) if min(*x.shape, len(y)) > _WIDE else replicates
    fd = intervals_of_two(lambda a, b: [frechet_distance(x[a], y[b])], people, real_people, replicates=wide, seed=seed)[
        0
    ]
    kernels = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)

    def kernel_distance(a: np.ndarray, b: np.ndarray) -> list[float]:
        return [mmd2_of_kernels(kernels[0][np.ix_(a, a)], kernels[1][np.ix_(b, b)], kernels[2][np.ix_(a, b)])]

    few = min(replicates, _PAIRED_REPLICATES)
    kid = intervals_of_two(kernel_distance, people, real_people, replicates=few, seed=seed)[0]
    return {f"FD[{real.name}]": fd.to_json(), f"KID[{real.name}]": kid.to_json()}


def manifold(
    generated: Features,
    real: Features,
    people: Sequence[str],
    real_people: Sequence[str],
    replicates: int,
    seed: int,
    k: int = 5,
) -> Numbers:
    """Precision, recall, density and coverage."""
    require_same(real, generated)
    x, y = generated.values.astype(np.float64), real.values.astype(np.float64)
    if min(len(x), len(y)) <= 2 * k + 2:  # halves must still hold k neighbours
        return {}
    pairs = [squared_distances(*sides).astype(np.float32) for sides in ((y, y), (x, x), (y, x))]

    def scores(a: np.ndarray, b: np.ndarray) -> Manifold:
        return scores_of_distances(pairs[0][np.ix_(b, b)], pairs[1][np.ix_(a, a)], pairs[2][np.ix_(b, a)], k=k)

    few = min(replicates, _PAIRED_REPLICATES)
    found = intervals_of_two(scores, people, real_people, replicates=few, seed=seed, bounds=(0, np.inf))
    limits = [np.inf if name == "density" else 1.0 for name in Manifold._fields]
    capped = [Estimate(e.value, e.low, min(e.high, most), e.replicates) for e, most in zip(found, limits, strict=True)]
    return {name: estimate.to_json() for name, estimate in zip(Manifold._fields, capped, strict=True)}


def real_floor(features: Features, people: Sequence[str], seed: int, repeats: int = 20) -> Numbers:
    """FD and KID between random halves of the real people: mean and range over splits.

    What a perfect model would get at half the number of pictures, as in the real row of the reference system.
    """
    values = features.values.astype(np.float64)
    found: dict[str, list[float]] = {f"FD[{features.name}]": [], f"KID[{features.name}]": []}
    for repeat in range(repeats if min(values.shape) <= _WIDE else 3):
        first, second = split_halves(people, seed + repeat)
        if min(len(first), len(second)) < 2:
            return {}
        found[f"FD[{features.name}]"].append(frechet_distance(values[first], values[second]))
        found[f"KID[{features.name}]"].append(mmd2(values[first], values[second]))
    return {
        name: Estimate(float(np.mean(v)), float(np.quantile(v, 0.025)), float(np.quantile(v, 0.975)), len(v)).to_json()
        for name, v in found.items()
    }


def diversity(matrix: np.ndarray, name: str, people: Sequence[str], replicates: int, seed: int) -> Numbers:
    """Mean of an all-pairs similarity matrix."""
    exact = matrix.astype(np.float64)
    if len(exact) < 2:
        return {}
    estimate = interval(lambda rows: mean_of_pairs(exact, rows), people, replicates=replicates, seed=seed)
    return {name: estimate.to_json()}


def continuous(
    name: str,
    requested: np.ndarray,
    predicted: np.ndarray,
    people: Sequence[str],
    replicates: int,
    seed: int,
    real: Agreement | None = None,
) -> Numbers:
    """Agreement of a predicted covariate, and corrected for the reader's dilution where `real` is given."""
    requested, predicted = np.asarray(requested, float), np.asarray(predicted, float)
    numbers: Numbers = {}

    def add(prefix: str, values: np.ndarray, metrics: Sequence[str]) -> None:
        def statistics(rows: np.ndarray) -> list[float]:
            found = agreement(requested[rows], values[rows])
            return [getattr(found, metric) for metric in metrics]

        found = intervals(statistics, people, replicates=replicates, seed=seed)
        for metric, estimate in zip(metrics, found, strict=True):
            numbers[f"{prefix} {metric}"] = estimate.to_json()

    add(name, predicted, ("mae", "mse", "rmse", "r", "slope", "bias"))
    if real is not None:
        corrected = undilute(predicted, real)
        if np.isfinite(corrected).all():
            add(f"{name} corrected", corrected, ("mae", "slope", "bias"))
    return numbers


def categorical(
    name: str, requested: np.ndarray, predicted: np.ndarray, people: Sequence[str], replicates: int, seed: int
) -> Numbers:
    """Accuracy, with the rate of the commonest answer beside it."""
    requested, predicted = np.asarray(requested), np.asarray(predicted)
    found = intervals(
        lambda rows: list(categorical_accuracy(requested[rows], predicted[rows])),
        people,
        replicates=replicates,
        seed=seed,
    )
    return {f"{name} accuracy": found[0].to_json(), f"{name} majority": found[1].to_json()}


def relation(
    name: str, requested: np.ndarray, values: np.ndarray, people: Sequence[str], replicates: int, seed: int
) -> Numbers:
    """Mean of a picture's value and its Spearman correlation with the request."""
    requested, values = np.asarray(requested, float), np.asarray(values, float)
    found = intervals(
        lambda rows: [anatomy.spearman(requested[rows], values[rows]), float(values[rows].mean())],
        people,
        replicates=replicates,
        seed=seed,
    )
    return {f"{name} spearman": found[0].to_json(), f"{name} mean": found[1].to_json()}


def dark_relation(ages: np.ndarray, dark: np.ndarray, people: Sequence[str], replicates: int, seed: int) -> Numbers:
    """Dark fraction against age: Spearman, mean, and means under 30 and over 75 years."""
    ages = np.asarray(ages, float)
    numbers = relation("dark fraction", ages, dark, people, replicates, seed)
    found = intervals(
        lambda rows: anatomy.young_and_old(ages[rows], dark[rows]), people, replicates=replicates, seed=seed
    )
    for label, estimate in zip(("dark fraction under 30", "dark fraction over 75"), found, strict=True):
        numbers[label] = estimate.to_json()
    return numbers


def settings_of(check: anatomy.DarkFraction) -> Mapping[str, Any]:
    return asdict(check)
