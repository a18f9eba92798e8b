"""Times, dropped conditions and the learned weights of a diffusion loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.tasks.diffusion import loss as diffusion_loss
from brain_diffusion_jax.training import state

KEY = jax.random.key(0)


def test_times_are_one_in_every_part_of_the_range():
    for seed in range(5):
        times = np.asarray(diffusion_loss.spread_times(jax.random.key(seed), jnp.arange(8), 8, 1000))
        assert sorted(times // 125) == list(range(8)) or len(set(np.sort(times) // 125)) >= 7
        assert np.all(np.abs(np.diff(np.sort(times)) - 125) <= 1)
    many = np.concatenate([diffusion_loss.spread_times(jax.random.key(s), jnp.arange(8), 8, 10) for s in range(200)])
    np.testing.assert_allclose(np.bincount(many, minlength=10) / len(many), 0.1, atol=0.02)


def test_conditions_are_dropped_per_sample_and_per_covariate():
    present = jnp.ones((4000, 3), bool).at[:, 2].set(False)
    index = jnp.arange(4000)
    whole = np.asarray(diffusion_loss.drop_conditions(KEY, present, 0.3, 0.0, index))
    assert set(map(tuple, whole)) == {(True, True, False), (False, False, False)}
    assert whole[:, 0].mean() == pytest.approx(0.7, abs=0.03)
    each = np.asarray(diffusion_loss.drop_conditions(KEY, present, 0.0, 0.5, index))
    assert each[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    assert (each[:, 0] & each[:, 1]).mean() == pytest.approx(0.25, abs=0.03)
    part = diffusion_loss.drop_conditions(KEY, present[7:9], 0.3, 0.0, index[7:9])
    np.testing.assert_array_equal(part, whole[7:9])  # the rest of the batch does not matter


def tiny_loss(**options):
    module, process = tiny.TinyDenoiser(), Process(num_train_steps=100)
    settings = diffusion_loss.DiffusionLoss(batch_size=tiny.BATCH, **options)
    params = diffusion_loss.make_init(module, (*tiny.SIZE, 1), 2, settings)(KEY)["params"]
    return jax.jit(diffusion_loss.make_loss(module, process, settings)), params


def test_stored_bytes_and_numbers_are_the_same_picture():
    loss, params = tiny_loss()
    batch = {**next(tiny.Endless()), "index": np.arange(tiny.BATCH)}
    stored = np.rint(batch["image"] * 255).astype(np.uint8)
    as_bytes = loss(params, {}, {**batch, "image": jnp.asarray(stored)}, KEY, 0)[0]
    as_numbers = loss(params, {}, {**batch, "image": jnp.asarray(stored / np.float32(255))}, KEY, 0)[0]
    assert float(as_bytes) == pytest.approx(float(as_numbers), abs=1e-6)


def test_learned_uncertainty_starts_as_the_plain_loss_and_learns():
    batch = {k: jnp.asarray(v) for k, v in {**next(tiny.Endless()), "index": np.arange(tiny.BATCH)}.items()}
    loss, params = tiny_loss(loss_weight="uncertainty")
    plain, _ = tiny_loss()
    assert float(loss(params, {}, batch, KEY, 0)[0]) == pytest.approx(
        float(plain(params, {}, batch, KEY, 0)[0]), abs=1e-6
    )
    gradient = jax.jit(jax.grad(lambda p: loss(p, {}, batch, KEY, 0)[0]))(params)
    assert np.abs(gradient[diffusion_loss.UNCERTAINTY]["weight"]).max() > 0
    assert diffusion_loss.UNCERTAINTY not in state.network_params(params)
