"""Losses of one output, and their weights over the noise levels."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.diffusion import prediction
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.losses import denoising


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


def test_unknown_losses_are_named():
    with pytest.raises(InputError, match="mse"):
        denoising.per_sample_loss(jnp.zeros((1, 1)), jnp.zeros((1, 1)), "mze")
    with pytest.raises(InputError, match="min_snr"):
        denoising.loss_weight("minsnr", jnp.zeros(1))
