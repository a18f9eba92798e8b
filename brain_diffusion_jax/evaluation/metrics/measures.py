"""The numbers of one set of images, each with its interval over people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from brain_diffusion_jax.evaluation.metrics import anatomy, metric_id
from brain_diffusion_jax.evaluation.metrics.agreement import BiasCorrection, agreement, categorical_accuracy
from brain_diffusion_jax.evaluation.metrics.bootstrap import (
    Estimate,
    interval,
    intervals,
    intervals_of_two,
    split_halves,
)
from brain_diffusion_jax.evaluation.metrics.frechet import frechet_distance, frechet_interval
from brain_diffusion_jax.evaluation.metrics.kid import cubic_kernel, mmd2, mmd2_of_kernels
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.metrics.precision_recall import Manifold, scores_of_distances, squared_distances
from brain_diffusion_jax.evaluation.metrics.ssim import mean_of_pairs
from brain_diffusion_jax.evaluation.probes.features import Features, require_same

Numbers = dict[str, dict[str, Any]]
# Where images and dimensions both are more, one Frechet distance takes seconds: fewer resamples are drawn.
_WIDE, _WIDE_REPLICATES = 512, 20
# Neighbours and kernels of all pairs: their spread is known well enough after this many.
_PAIRED_REPLICATES = 40


def keyed(metrics: Iterable[MetricId], estimates: Iterable[Estimate]) -> Numbers:
    """Estimates by the keys of study.json."""
    return {str(metric): estimate.to_json() for metric, estimate in zip(metrics, estimates, strict=True)}


def _distance_ids(extractor: str) -> list[MetricId]:
    return [MetricId(group, reader=extractor) for group in ("FD", "KID")]


def distances(
    generated: Features, real: Features, people: Sequence[str], real_people: Sequence[str], replicates: int, seed: int
) -> Numbers:
    """Frechet and kernel distance, named after the extractor."""
    require_same(real, generated)
    x, y = generated.values.astype(np.float64), real.values.astype(np.float64)
    wide = min(replicates, _WIDE_REPLICATES) if min(*x.shape, len(y)) > _WIDE else replicates
    fd = frechet_interval(x, y, people, real_people, replicates=wide, seed=seed)
    kernels = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)

    def kernel_distance(a: np.ndarray, b: np.ndarray) -> list[float]:
        return [mmd2_of_kernels(kernels[0][np.ix_(a, a)], kernels[1][np.ix_(b, b)], kernels[2][np.ix_(a, b)])]

    few = min(replicates, _PAIRED_REPLICATES)
    kid = intervals_of_two(kernel_distance, people, real_people, replicates=few, seed=seed)[0]
    return keyed(_distance_ids(real.name), (fd, kid))


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
    estimates = intervals_of_two(scores, people, real_people, replicates=few, seed=seed, bounds=(0, np.inf))
    limits = [np.inf if name == "density" else 1.0 for name in Manifold._fields]
    capped = [
        Estimate(e.value, e.low, min(e.high, top), e.replicates) for e, top in zip(estimates, limits, strict=True)
    ]
    return keyed((MetricId(statistic=name) for name in Manifold._fields), capped)


def real_floor(features: Features, people: Sequence[str], seed: int, repeats: int = 20) -> Numbers:
    """FD and KID between random halves of the real people: mean and range over splits.

    What a perfect model would get at half the number of images, as in the real row of the reference system.
    """
    values = features.values.astype(np.float64)
    draws: list[list[float]] = []
    for repeat in range(repeats if min(values.shape) <= _WIDE else 3):
        halves = [values[rows] for rows in split_halves(people, seed + repeat)]
        if min(map(len, halves)) < 2:
            return {}
        draws.append([frechet_distance(*halves), mmd2(*halves)])
    estimates = [
        Estimate(float(np.mean(v)), float(np.quantile(v, 0.025)), float(np.quantile(v, 0.975)), len(v))
        for v in np.array(draws).T
    ]
    return keyed(_distance_ids(features.name), estimates)


def diversity(matrix: np.ndarray, of: MetricId, people: Sequence[str], replicates: int, seed: int) -> Numbers:
    """Mean of an all-pairs similarity matrix."""
    exact = matrix.astype(np.float64)
    if len(exact) < 2:
        return {}
    return keyed([of], [interval(lambda rows: mean_of_pairs(exact, rows), people, replicates=replicates, seed=seed)])


def numeric(
    of: MetricId,
    requested: np.ndarray,
    predicted: np.ndarray,
    people: Sequence[str],
    replicates: int,
    seed: int,
    correction: BiasCorrection | None = None,
) -> Numbers:
    """Agreement of a predicted covariate, also after `correction` where one is given. of: covariate and probe."""
    requested, predicted = np.asarray(requested, float), np.asarray(predicted, float)

    def compared(group: str, values: np.ndarray, statistics: Sequence[str]) -> Numbers:
        def agreements(rows: np.ndarray) -> list[float]:
            line = agreement(requested[rows], values[rows])
            return [getattr(line, statistic) for statistic in statistics]

        estimates = intervals(agreements, people, replicates=replicates, seed=seed)
        return keyed((of.of(statistic, group) for statistic in statistics), estimates)

    numbers = compared("", predicted, metric_id.NUMERIC)
    if correction is not None:
        numbers |= compared(metric_id.CORRECTED, correction(predicted), ("mae", "slope", "bias"))
    return numbers


def categorical(
    of: MetricId, requested: np.ndarray, predicted: np.ndarray, people: Sequence[str], replicates: int, seed: int
) -> Numbers:
    """Accuracy, with the rate of the commonest answer beside it. of: covariate and probe."""
    requested, predicted = np.asarray(requested), np.asarray(predicted)
    estimates = intervals(
        lambda rows: list(categorical_accuracy(requested[rows], predicted[rows])),
        people,
        replicates=replicates,
        seed=seed,
    )
    return keyed(map(of.of, metric_id.CATEGORICAL), estimates)


def relation(
    group: str, requested: np.ndarray, values: np.ndarray, people: Sequence[str], replicates: int, seed: int
) -> Numbers:
    """Spearman correlation of an image's value with the request, and the mean value."""
    requested, values = np.asarray(requested, float), np.asarray(values, float)
    estimates = intervals(
        lambda rows: [anatomy.spearman(requested[rows], values[rows]), float(values[rows].mean())],
        people,
        replicates=replicates,
        seed=seed,
    )
    return keyed((MetricId(group, statistic=s) for s in ("spearman", "mean")), estimates)


def dark_relation(
    requested: np.ndarray, dark: np.ndarray, people: Sequence[str], replicates: int, seed: int, bands: bool = True
) -> Numbers:
    """Dark fraction against the request: Spearman and mean; with `bands` also means under 30 and over 75 (years)."""
    requested = np.asarray(requested, float)
    numbers = relation(metric_id.DARK, requested, dark, people, replicates, seed)
    if bands:
        estimates = intervals(
            lambda rows: anatomy.young_and_old(requested[rows], dark[rows]), people, replicates=replicates, seed=seed
        )
        names = (f"under {anatomy.YOUNG:g}", f"over {anatomy.OLD:g}")
        numbers |= keyed((MetricId(metric_id.DARK, statistic=name) for name in names), estimates)
    return numbers
