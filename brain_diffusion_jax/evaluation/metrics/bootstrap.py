"""Intervals by resampling people, not images: slices of one person are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_diffusion_jax.errors import InputError

_LEVEL = 0.95  # of every interval
_NORMAL = 1.959963984540054  # its quantile of the normal distribution


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; NaN ends where there is none. replicates: how many resamples it rests on."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    replicates: int = 0

    def to_json(self) -> dict[str, Any]:
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        finite = {k: (float(v) if np.isfinite(v) else None) for k, v in numbers.items()}
        return {**finite, "replicates": self.replicates}


def groups_of(people: Sequence[str]) -> list[np.ndarray]:
    """Row indices of each person, in order of first appearance."""
    if len(people) == 0:
        raise InputError("bootstrap", "people", "an empty set", "at least one image")
    _, first, inverse = np.unique(np.asarray(people), return_index=True, return_inverse=True)
    return [np.flatnonzero(inverse == group) for group in np.argsort(first)]


def interval(
    statistic: Callable[[np.ndarray], float], people: Sequence[str], *, replicates: int = 200, seed: int = 0
) -> Estimate:
    """The statistic of all rows and its percentile bootstrap interval over people.

    statistic: row indices -> number. replicates 0 gives a point without an interval.
    """
    return intervals(lambda rows: [statistic(rows)], people, replicates=replicates, seed=seed)[0]


def intervals(
    statistics: Callable[[np.ndarray], Sequence[float]], people: Sequence[str], *, replicates: int = 200, seed: int = 0
) -> list[Estimate]:
    """As `interval`, for several numbers of the same resamples: as many people as there are, with replacement."""
    groups = groups_of(people)
    values = np.asarray(statistics(np.arange(len(people))), float)
    if replicates == 0 or len(groups) < 2:
        return [Estimate(float(v)) for v in values]
    generator = np.random.default_rng(seed)
    draws = np.array([statistics(_resample(groups, generator)) for _ in range(replicates)], float)
    return [_percentiles(float(v), d[np.isfinite(d)]) for v, d in zip(values, draws.T, strict=True)]


def _resample(groups: Sequence[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    return np.concatenate([groups[i] for i in generator.integers(len(groups), size=len(groups))])


def _percentiles(value: float, draws: np.ndarray, shift: float = 0.0) -> Estimate:
    if len(draws) < 2:
        return Estimate(value, replicates=len(draws))
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]) + shift
    return Estimate(value, float(low), float(high), len(draws))


def _half(groups: Sequence[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Row indices of a random half of the people, each once."""
    return np.concatenate([groups[i] for i in generator.permutation(len(groups))[: max(1, len(groups) // 2)]])


def intervals_of_two(
    statistics: Callable[[np.ndarray, np.ndarray], Sequence[float]],
    people: Sequence[str],
    other_people: Sequence[str],
    *,
    replicates: int = 200,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    matched: bool = False,
) -> list[Estimate]:
    """Intervals of statistics of two sets that repeated images would distort (distances, neighbours).

    Random halves of the people, each person once: the spread of a half drawn without replacement is
    (2/n - 1/n) = 1/n, that of the whole. The bias of a half is not, so the interval is centred on the
    estimate, and cut at the bounds of the statistic. matched: row i of both sets belongs to one person,
    and both halves hold the same people.
    """
    groups, other_groups = groups_of(people), groups_of(other_people)
    values = np.asarray(statistics(np.arange(len(people)), np.arange(len(other_people))), float)
    if replicates == 0 or min(len(groups), len(other_groups)) < 4:
        return [Estimate(float(v)) for v in values]
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(replicates):
        rows = _half(groups, generator)
        draws.append(statistics(rows, rows if matched else _half(other_groups, generator)))
    estimates = []
    for value, column in zip(values, np.array(draws).T, strict=True):
        estimate = _percentiles(float(value), column, float(value - column.mean()))
        low, high = np.clip((estimate.low, estimate.high), *bounds)
        estimates.append(Estimate(estimate.value, float(low), float(high), replicates))
    return estimates


def split_halves(people: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row indices of two random halves of the people, no person in both, as equal in images as can be."""
    groups = groups_of(people)
    if len(groups) < 2:
        raise InputError("real images", "people", f"{len(groups)} person", "at least 2, to split into halves")
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for position in np.random.default_rng(seed).permutation(len(groups)):
        min(halves, key=lambda half: sum(map(len, half))).append(groups[position])
    return np.sort(np.concatenate(halves[0])), np.sort(np.concatenate(halves[1]))


def proportion(hits: float, count: int) -> Estimate:
    """hits of count as a fraction, with Wilson's 95 % interval (Wilson 1927)."""
    fraction, square = hits / count, _NORMAL**2 / count
    middle = (fraction + square / 2) / (1 + square)
    half = _NORMAL * np.sqrt(fraction * (1 - fraction) / count + square / (4 * count)) / (1 + square)
    return Estimate(
        fraction, min(fraction, max(0.0, float(middle - half))), max(fraction, min(1.0, float(middle + half)))
    )
