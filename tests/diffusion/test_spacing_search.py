"""The spacing found for a model."""

from __future__ import annotations

import exact_models
import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.array_types import Level
from brain_diffusion_jax.diffusion import levels, samplers, schedules, spacing_search


def test_greedy_spacing_beats_even_ones_on_its_own_model():
    schedule = schedules.make("linear", 1000)
    x = samplers.base.initial_noise(jax.random.key(0), (64, 2, 2, 1))
    optimised = spacing_search.Optimised(exact_models.mixture, x, grid_steps=60)
    found = Level(*map(np.append, optimised(schedule, 6), schedule.level(-1)))
    assert found.t.shape == (7,)
    assert np.all(np.diff(found.sigma) < 0)

    def error(chosen):
        got = samplers.base.run(samplers.get("ddim"), exact_models.mixture, x, chosen, None, jax.random.key(1))
        want = exact_models.mixture_flow(x, exact_models.end(chosen, 0), schedule.level(-1))
        return float(jnp.mean((got - want) ** 2))

    others = [error(levels.select(schedule, 6, spacing)) for spacing in ("trailing", "linear")]
    assert error(found) < 0.9 * min(others)

    # With all steps nothing is left to choose.
    short = schedules.make("linear", 6)
    np.testing.assert_array_equal(optimised(short, 6).t, levels.select(short, 6).t[:-1])
