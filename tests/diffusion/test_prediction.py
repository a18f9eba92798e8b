"""Prediction targets invert; clipping acts last; off-grid levels are found."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from brain_diffusion_jax.array_types import Condition, Level
from brain_diffusion_jax.diffusion import guidance, prediction
from brain_diffusion_jax.diffusion.process import Process

SCHEDULES = ["linear", "cosine", "flow", "edm"]


@pytest.mark.parametrize("kind", prediction.KINDS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_conversions_invert(kind, schedule):
    with jax.enable_x64(True):
        process = Process(schedule=schedule, num_train_steps=100, prediction="v")
        rng = np.random.default_rng(0)
        x0, eps = (jnp.asarray(rng.normal(size=(100, 2, 3, 1))) for _ in range(2))
        level = process.table.level(np.arange(100))
        level = Level(*(np.maximum(v, 1e-9) for v in level))  # flow's last level has no signal for eps to divide by
        x = prediction.add_noise(x0, eps, level)
        output = prediction.target(x0, eps, level, kind)
        again = prediction.to_prediction(output, x, level, kind)
        skip = slice(None, 99) if kind == "eps" else slice(None)  # flow's 1/alpha
        np.testing.assert_allclose(again.x0[skip], x0[skip], atol=1e-9)
        np.testing.assert_allclose(again.eps[skip], eps[skip], atol=1e-9)


def test_clipping_acts_on_the_guided_picture_and_eps_follows():
    process = Process(schedule="linear", prediction="x0")
    level = process.level(jnp.asarray(500))

    def network(x, t, condition):
        return jnp.where(condition.present[:, :1, None, None], 0.9, 0.5) * jnp.ones_like(x)

    x = jnp.ones((2, 3, 3, 1))
    condition = Condition(jnp.zeros((2, 1)), jnp.ones((2, 1), bool))
    denoise = guidance.classifier_free(process.denoise_fn(network), jnp.float32(3.0))
    got = denoise(x, level, condition)  # 0.5 + 3 (0.9 - 0.5) = 1.7, then clipped
    np.testing.assert_allclose(got.x0, 1.0)
    np.testing.assert_allclose(level.alpha * got.x0 + level.sigma * got.eps, x, rtol=1e-5)
    kept = Process(schedule="linear", prediction="x0", clip_keeps_eps=True)
    kept = guidance.classifier_free(kept.denoise_fn(network), jnp.float32(3.0))(x, level, condition)
    np.testing.assert_allclose(level.alpha * 1.7 + level.sigma * kept.eps, x, rtol=1e-5)


def test_an_off_grid_level_is_located_and_x_scaled_to_it():
    process = Process(schedule="cosine", prediction="v", clip_x0=False)
    level = process.level(jnp.asarray(400))
    seen = []

    def network(x, t, condition):
        seen.append((float(t[0]), x))
        return x

    denoise = process.denoise_fn(network)
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 1))
    on_grid = denoise(x, level, None)
    off_grid = denoise(2.5 * x, Level(jnp.nan, 2.5 * level.alpha, 2.5 * level.sigma), None)
    assert seen[0][0] == 400
    assert seen[1][0] == pytest.approx(400, abs=0.02)
    np.testing.assert_allclose(off_grid.x0, on_grid.x0, atol=1e-4)
    np.testing.assert_allclose(off_grid.eps, on_grid.eps, atol=1e-4)


def test_parameters_in_a_partial_are_leaves():
    denoise = Process().denoise_fn(Partial(lambda params, x, t, c: params * x, jnp.ones(())))
    assert len(jax.tree.leaves(denoise)) == 3  # the parameter and the two clipping ends
