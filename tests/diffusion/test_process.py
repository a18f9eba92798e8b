"""Predictions invert, clipping sits outside guidance, losses weigh as their papers say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from brain_diffusion_jax.array_types import Condition, Level
from brain_diffusion_jax.config import base_config
from brain_diffusion_jax.diffusion import guidance, prediction
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.losses import denoising

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


def test_config_makes_a_process_and_ranges_invert():
    process = Process(**base_config().diffusion)
    assert process.table is Process(**base_config().diffusion).table  # so that nothing recompiles
    other = Process(data_range=(-1, 3))
    unit = jnp.linspace(0, 1, 5).reshape(1, 5, 1, 1)
    np.testing.assert_allclose(other.to_network(unit).ravel(), [-1, 0, 1, 2, 3])
    np.testing.assert_allclose(other.to_unit(other.to_network(unit)), unit, atol=1e-6)
    assert float(other.to_unit(jnp.full((1, 1, 1, 1), 9.0)).max()) == 1.0


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


def test_a_level_without_a_name_is_found_and_x_brought_to_its_scale():
    process = Process(schedule="cosine", prediction="v", clip_x0=False)
    level = process.level(jnp.asarray(400))
    seen = []

    def network(x, t, condition):
        seen.append((float(t[0]), x))
        return x

    denoise = process.denoise_fn(network)
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 1))
    named = denoise(x, level, None)
    off_grid = denoise(2.5 * x, Level(jnp.nan, 2.5 * level.alpha, 2.5 * level.sigma), None)
    assert seen[0][0] == 400
    assert seen[1][0] == pytest.approx(400, abs=0.02)
    np.testing.assert_allclose(off_grid.x0, named.x0, atol=1e-4)
    np.testing.assert_allclose(off_grid.eps, named.eps, atol=1e-4)


def test_parameters_in_a_partial_are_leaves():
    denoise = Process().denoise_fn(Partial(lambda params, x, t, c: params * x, jnp.ones(())))
    assert len(jax.tree.leaves(denoise)) == 3  # the parameter and the two clipping ends


def test_losses_and_weights():
    output, target = jnp.zeros((2, 4, 4, 1)), jnp.stack([jnp.full((4, 4, 1), 0.05), jnp.full((4, 4, 1), 2.0)])
    np.testing.assert_allclose(denoising.per_sample_loss(output, target, "mse"), [0.0025, 4.0], rtol=1e-5)
    np.testing.assert_allclose(denoising.per_sample_loss(output, target, "l1"), [0.05, 2.0], rtol=1e-5)
    np.testing.assert_allclose(denoising.per_sample_loss(output, target, "huber"), [0.00125, 0.195], rtol=1e-4)
    log_snr = jnp.linspace(-8, 8, 9)
    snr = np.exp(np.asarray(log_snr))
    np.testing.assert_allclose(denoising.loss_weight("none", log_snr), 1.0)
    np.testing.assert_allclose(denoising.loss_weight("min_snr", log_snr, "eps"), np.minimum(snr, 5) / snr, rtol=1e-5)
    np.testing.assert_allclose(
        denoising.loss_weight("min_snr", log_snr, "v"), np.minimum(snr, 5) / (snr + 1), rtol=1e-5
    )
    np.testing.assert_allclose(denoising.loss_weight("min_snr", log_snr, "x0"), np.minimum(snr, 5), rtol=1e-5)
    # The same weight whatever the network predicts: expressed in x0 they agree.
    for name in ("min_snr", "p2", "sigmoid"):
        in_x0 = [
            denoising.loss_weight(name, log_snr, kind) * denoising._mse_per_x0_mse(log_snr, kind)
            for kind in prediction.KINDS
        ]
        for other in in_x0[1:]:
            np.testing.assert_allclose(other, in_x0[0], rtol=1e-4)


@pytest.mark.parametrize("kind", prediction.KINDS)
def test_the_unit_of_a_loss_is_right(kind):
    level = Process(schedule="flow" if kind == "flow" else "cosine", prediction="v").table.level(np.array([300]))
    x, x0 = jnp.ones((1, 2, 2, 1)), jnp.full((1, 2, 2, 1), 0.2)
    first = prediction.from_x0(x0, x, level)
    second = prediction.from_x0(x0 + 0.1, x, level)
    change = denoising.per_sample_loss(*(prediction.target(*p, level, kind) for p in (first, second)))
    log_snr = jnp.asarray(2 * np.log(level.alpha / level.sigma))
    np.testing.assert_allclose(change, 0.01 * denoising._mse_per_x0_mse(log_snr, kind), rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prediction": "epsilon"}, "eps"),
        ({"data_range": (1.0, -1.0)}, "low < high"),
        ({"prediction": "eps", "zero_terminal_snr": True}, "no signal"),
        ({"schedule": "flow", "prediction": "eps"}, "no signal"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(InputError, match=words):
        Process(**settings)


def test_unknown_losses_are_named():
    with pytest.raises(InputError, match="mse"):
        denoising.per_sample_loss(jnp.zeros((1, 1)), jnp.zeros((1, 1)), "mze")
    with pytest.raises(InputError, match="min_snr"):
        denoising.loss_weight("minsnr", jnp.zeros(1))
