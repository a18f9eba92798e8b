"""The pure parts of a step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from brain_diffusion_jax.training import step

KEY = jax.random.key(0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 100.0])
def test_a_bad_step_changes_only_the_step_number(bad):
    now, do = tiny.quadratic(spike_factor=10.0)
    for _ in range(step.SPIKE_AFTER):
        now, measured = do(now, {"target": jnp.full((1, 4), 1.0)}, KEY)
        assert measured["accepted"] == 1
    after, measured = do(now, {"target": jnp.full((1, 4), bad)}, KEY)
    assert measured["accepted"] == 0
    assert int(after.step) == int(now.step) + 1
    jax.tree.map(np.testing.assert_array_equal, after.replace(step=now.step), now)


def test_known_samples_of_any_parts_weigh_as_those_of_the_whole():
    rng = np.random.default_rng(0)
    values, known = rng.random(8), np.array([1, 0, 0, 1, 1, 1, 0, 1], bool)
    weights = np.asarray(step.known_weights(jnp.asarray(known)))
    parts = [np.mean((values * weights)[i::4]) for i in range(4)]
    assert np.mean(parts) == pytest.approx(values[known].mean())
    assert np.all(np.asarray(step.known_weights(jnp.zeros(4, bool))) == 0)
    np.testing.assert_array_equal(step.known_weights(jnp.ones(4, bool)), 1.0)
