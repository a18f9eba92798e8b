"""Spacings go down, end clean and are what they are called."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from brain_diffusion_jax.diffusion import levels, schedules
from brain_diffusion_jax.errors import InputError


@pytest.mark.parametrize("spacing", levels.names())
def test_every_spacing_goes_down_and_ends_clean(spacing):
    schedule = schedules.make("cosine", 200)
    for steps in (1, 2, 7, 50):
        chosen = levels.select(schedule, steps, spacing)
        assert all(v.shape == (steps + 1,) for v in chosen)
        assert np.all(np.diff(chosen.sigma) < 0)
        assert np.all(np.diff(chosen.alpha) > 0)
        assert (chosen.alpha[-1], chosen.sigma[-1]) == (1.0, 0.0)
        if spacing != "leading" and steps > 1:
            assert chosen.t[0] == 199


def test_spacings_are_what_they_are_called():
    schedule = schedules.make("linear")
    assert levels.select(schedule, 10, "trailing").t.tolist() == [*range(999, 0, -100), -1]
    assert levels.select(schedule, 10, "leading", steps_offset=1).t.tolist() == [*range(901, 0, -100), -1]
    assert levels.select(schedule, 5, "linear", final="first").t.tolist() == [999, 749, 500, 250, 0, 0]
    karras = levels.select(schedule, 12, "karras", rho=5.0)
    root = (karras.sigma[:-1] / karras.alpha[:-1]) ** (1 / 5)
    np.testing.assert_allclose(np.diff(root), np.diff(root)[0], rtol=1e-6)
    chosen = levels.select(schedule, 12, "log_snr")
    uniform = 2 * np.log(chosen.alpha[:-1] / chosen.sigma[:-1])
    np.testing.assert_allclose(np.diff(uniform), np.diff(uniform)[0], rtol=1e-9)


def test_the_dynamic_programme_finds_the_cheapest_path():
    cost = np.random.default_rng(0).uniform(size=(7, 7))
    found = levels.fewest_by_cost(cost, 4)
    total = sum(cost[i, j] for i, j in pairwise(found))
    everything = [(0, i, j, 6) for i in range(1, 6) for j in range(i + 1, 6)]
    assert total == pytest.approx(min(sum(cost[i, j] for i, j in pairwise(p)) for p in everything))


def test_a_spacing_is_registered_from_outside():
    def first_ones(schedule, num_steps):
        return schedule.level(np.arange(num_steps)[::-1])

    levels.register("first_ones", first_ones)
    try:
        assert levels.select(schedules.make("linear"), 3, "first_ones").t.tolist() == [2, 1, 0, -1]
        with pytest.raises(InputError, match="name not taken"):
            levels.register("karras", first_ones)
    finally:
        levels._REGISTERED.pop("first_ones")
