"""Losses of one network output, and their weights over the noise levels.

With MSE in x0 as the unit: MSE(eps) = snr MSE(x0), MSE(v) = (snr + 1) MSE(x0), and on alpha + sigma = 1
MSE(flow) = (sqrt(snr) + 1)^2 MSE(x0), where snr = alpha^2 / sigma^2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image
from brain_diffusion_jax.errors import InputError, nearest

LOSSES = ("mse", "l1", "huber")
WEIGHTS = ("none", "min_snr", "truncated_snr", "p2", "sigmoid")


def per_sample_loss(
    output: Image, target: Image, name: str = "mse", huber_delta: float = 0.1
) -> Float[Array, " batch"]:
    """The loss of each sample, averaged over its pixels."""
    error = output.astype(jnp.float32) - target.astype(jnp.float32)
    if name == "mse":
        values = error**2
    elif name == "l1":
        values = jnp.abs(error)
    elif name == "huber":
        small = jnp.minimum(jnp.abs(error), huber_delta)
        values = small**2 / 2 + huber_delta * (jnp.abs(error) - small)
    else:
        raise InputError("train", "loss", name, nearest(name, LOSSES))
    return values.mean(axis=tuple(range(1, values.ndim)))


def _mse_per_x0_mse(log_snr: Float[Array, " batch"], prediction: str) -> Float[Array, " batch"]:
    if prediction == "x0":
        return jnp.ones_like(log_snr)
    if prediction == "eps":
        return jnp.exp(log_snr)
    return jnp.exp(log_snr) + 1 if prediction == "v" else (jnp.exp(log_snr / 2) + 1) ** 2


def loss_weight(
    name: str, log_snr: Float[Array, " batch"], prediction: str = "eps", *, gamma: float = 5.0, shift: float = 0.0
) -> Float[Array, " batch"]:
    """The factor of each sample's loss in the network's own output; "none" is 1 everywhere (off).

    min_snr: min(snr, gamma) in x0 (Hang et al. 2023, eq. 6).
    truncated_snr: max(snr, 1) in x0 (Salimans & Ho 2022), capped at gamma: keeps weight on pure noise.
    p2: 1 / (1 + snr) in eps (Choi et al. 2022, with k = gamma = 1).
    sigmoid: sigmoid(shift - log_snr) in eps (Kingma & Gao 2023; Hoogeboom et al. 2024).
    """
    if name == "none":
        return jnp.ones_like(log_snr)
    if name not in WEIGHTS:
        raise InputError("train", "loss_weight", name, nearest(name, WEIGHTS))
    unit = _mse_per_x0_mse(log_snr, prediction)
    snr = jnp.exp(log_snr)
    if name == "min_snr":
        return jnp.minimum(snr, gamma) / unit
    if name == "truncated_snr":
        return jnp.clip(snr, 1.0, gamma) / unit
    in_eps = 1 / (1 + snr) if name == "p2" else jax.nn.sigmoid(shift - log_snr)
    return in_eps * snr / unit
