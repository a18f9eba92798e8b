"""Intervals over people, halves, and of fractions."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import bootstrap


def test_wilson_interval_of_known_fractions():
    # Newcombe 1998, table I: 81 of 263, and none of 20.
    for (hits, count), ends in (((81, 263), (0.2553, 0.3662)), ((0, 20), (0.0, 0.1611))):
        estimate = bootstrap.proportion(hits, count)
        assert estimate.value == hits / count
        np.testing.assert_allclose((estimate.low, estimate.high), ends, atol=2e-4)


def test_intervals_resample_people_not_pictures():
    """Twenty copies of each person's picture must not shrink the interval of a mean."""
    values = np.random.default_rng(2).normal(size=25)
    people = [str(i) for i in range(25)]
    single = bootstrap.interval(lambda rows: values[rows].mean(), people, replicates=400)
    repeated = np.repeat(values, 20)
    many = bootstrap.interval(lambda rows: repeated[rows].mean(), list(np.repeat(people, 20)), replicates=400)
    width, width_many = single.high - single.low, many.high - many.low
    assert width_many == pytest.approx(width, rel=0.15)
    assert width == pytest.approx(2 * 1.96 * values.std() / 5, rel=0.2)


def test_half_samples_have_the_spread_of_the_whole():
    """The claim in the docstring: intervals of halves without replacement are as wide as the true spread."""
    rng = np.random.default_rng(3)
    people = [str(i) for i in range(60)]

    def difference(x, y):
        return lambda a, b: [x[a].mean() - y[b].mean()]

    widths = []
    for _ in range(20):
        x, y = rng.normal(size=60), rng.normal(size=60)
        found = bootstrap.intervals_of_two(difference(x, y), people, people, replicates=100)[0]
        widths.append(found.high - found.low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.sqrt(2 / 60), rel=0.12)


def test_split_halves_share_no_person():
    people = [str(i % 7) for i in range(30)]
    first, second = bootstrap.split_halves(people, seed=0)
    assert not {people[i] for i in first} & {people[i] for i in second}
    assert len(first) + len(second) == 30
    assert abs(len(first) - len(second)) <= 5
    with pytest.raises(InputError, match="1 person"):
        bootstrap.split_halves(["a", "a"], seed=0)
