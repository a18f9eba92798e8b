"""Intervals by resampling people, not pictures: slices of one person are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_diffusion_jax.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. unit: people (or pictures) resampled; replicates: how often."""

    value: float
    low: float
    high: float
    replicates: int = 0

    def to_json(self) -> dict[str, Any]:
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        finite = {k: (float(v) if np.isfinite(v) else None) for k, v in numbers.items()}
        return {**finite, "replicates": self.replicates}


def groups_of(people: Sequence[str]) -> list[np.ndarray]:
    """Row indices of each person, in order of first appearance."""
    if len(people) == 0:
        raise InputError("bootstrap", "people", "an empty set", "at least one picture")
    names = np.asarray(people)
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return [np.flatnonzero(inverse == group) for group in order]


def resample(groups: Sequence[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Row indices of as many people as there are, drawn with replacement."""
    drawn = generator.integers(len(groups), size=len(groups))
    return np.concatenate([groups[i] for i in drawn])


def interval(
    statistic: Callable[[np.ndarray], float],
    people: Sequence[str],
    *,
    replicates: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The statistic of all rows and its percentile bootstrap interval over people.

    statistic: row indices -> number. replicates 0 gives a point without an interval.
    """
    found = intervals(lambda rows: [statistic(rows)], people, replicates=replicates, seed=seed, level=level)
    return found[0]


def intervals(
    statistics: Callable[[np.ndarray], Sequence[float]],
    people: Sequence[str],
    *,
    replicates: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> list[Estimate]:
    """As `interval`, for several numbers of the same resamples."""
    groups = groups_of(people)
    values = np.asarray(statistics(np.arange(len(people))), float)
    if replicates == 0 or len(groups) < 2:
        return [Estimate(float(v), np.nan, np.nan) for v in values]
    generator = np.random.default_rng(seed)
    draws = np.array([statistics(resample(groups, generator)) for _ in range(replicates)], float)
    return [_percentiles(float(v), d[np.isfinite(d)], level) for v, d in zip(values, draws.T, strict=True)]


def _percentiles(value: float, draws: np.ndarray, level: float, shift: float = 0.0) -> Estimate:
    if len(draws) < 2:
        return Estimate(value, np.nan, np.nan, len(draws))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]) + shift
    return Estimate(value, float(low), float(high), len(draws))


def half_sample(groups: Sequence[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Row indices of a random half of the people, each once."""
    return np.concatenate([groups[i] for i in generator.permutation(len(groups))[: max(1, len(groups) // 2)]])


def intervals_of_two(
    statistics: Callable[[np.ndarray, np.ndarray], Sequence[float]],
    people: Sequence[str],
    other_people: Sequence[str],
    *,
    replicates: int = 200,
    seed: int = 0,
    level: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    matched: bool = False,
) -> list[Estimate]:
    """Intervals of statistics of two sets that repeated pictures would distort (distances, neighbours).

    Random halves of the people, each person once: the spread of a half drawn without replacement is
    (2/n - 1/n) = 1/n, that of the whole. The bias of a half is not, so the interval is centred on the
    estimate, and cut at the bounds of the statistic. matched: row i of both sets belongs to one person,
    and both halves hold the same people.
    """
    groups, other_groups = groups_of(people), groups_of(other_people)
    values = np.asarray(statistics(np.arange(len(people)), np.arange(len(other_people))), float)
    if replicates == 0 or min(len(groups), len(other_groups)) < 4:
        return [Estimate(float(v), np.nan, np.nan) for v in values]
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(replicates):
        rows = half_sample(groups, generator)
        drawn.append(statistics(rows, rows if matched else half_sample(other_groups, generator)))
    draws = np.array(drawn)
    found = []
    for value, column in zip(values, draws.T, strict=True):
        estimate = _percentiles(float(value), column, level, float(value - column.mean()))
        low, high = np.clip((estimate.low, estimate.high), *bounds)
        found.append(Estimate(estimate.value, float(low), float(high), replicates))
    return found


def split_halves(people: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row indices of two random halves of the people, no person in both, as equal in pictures as can be."""
    groups = groups_of(people)
    if len(groups) < 2:
        raise InputError("real pictures", "people", f"{len(groups)} person", "at least 2, to split into halves")
    order = np.random.default_rng(seed).permutation(len(groups))
    first: list[np.ndarray] = []
    second: list[np.ndarray] = []
    for position in order:
        smaller = first if sum(map(len, first)) <= sum(map(len, second)) else second
        smaller.append(groups[position])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
