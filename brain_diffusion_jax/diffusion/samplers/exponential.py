"""Tools of the higher-order methods: log-SNR, the phi functions, and levels between two others.

Every method here is x_s = alpha_s x0 + sigma_s eps (DDIM, exact for constant x0 and eps) plus a
correction. lambda = log(alpha/sigma); h = lambda_s - lambda_t.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image, Level, Prediction

# Stand-in for an alpha or sigma of 0, so that lambda stays finite; single precision cannot tell the difference.
TINY = 1e-7


def half_log_snr(level: Level) -> Float[Array, ""]:
    """lambda = log(alpha / sigma), finite: |lambda| <= 16."""
    return jnp.log(jnp.maximum(level.alpha, TINY)) - jnp.log(jnp.maximum(level.sigma, TINY))


def ratio(level: Level) -> Float[Array, ""]:
    """sigma / alpha, k-diffusion's sigma; finite."""
    return level.sigma / jnp.maximum(level.alpha, TINY)


def has_signal(level: Level) -> Any:
    """Whether alpha > 0; at pure noise only first-order steps are defined."""
    return level.alpha > 10 * TINY


def first_order(prediction: Prediction, level: Level) -> Image:
    """alpha x0 + sigma eps at `level`: one DDIM step."""
    return level.alpha * prediction.x0 + level.sigma * prediction.eps


def phi(order: int, z: Float[Array, ""]) -> Float[Array, ""]:
    """phi_0 = e^z, phi_k = (phi_{k-1} - 1/(k-1)!)/z; a power series where that would cancel."""
    small = jnp.abs(z) < 1.0
    series = sum(jnp.where(small, z, 0) ** j / float(math.factorial(j + order)) for j in range(18))
    safe = jnp.where(small, 1.0, z)
    value = jnp.exp(safe)
    for k in range(order):
        value = (value - 1 / math.factorial(k)) / safe
    return jnp.where(small, series, value)


def off_grid(alpha: Any, sigma: Any) -> Level:
    """A level off the grid of the schedule's table: t is NaN, and `NetworkDenoiser` finds t by alpha and sigma."""
    return Level(jnp.full_like(jnp.asarray(alpha), jnp.nan), alpha, sigma)


def at_ratio(target: Any, scale: Any) -> Level:
    """The off-grid level with sigma/alpha = target and alpha^2 + sigma^2 = scale^2."""
    alpha = scale / jnp.sqrt(1 + target**2)
    return off_grid(alpha, target * alpha)


# Values at the last levels [k, ...], newest first, and their lambda [k]; NaN where there was no such level.
History = tuple[Array, Array]


def no_history(x: Image, length: int) -> History:
    """The history before the first step."""
    return jnp.zeros((length, *x.shape), x.dtype), jnp.full((length,), jnp.nan, x.dtype)


def remember(history: History, value: Image, half_log_snr: Float[Array, ""]) -> History:
    """The history with the value of another level in front; the oldest one goes."""
    values, lambdas = history
    return jnp.concatenate([value[None], values[:-1]]), jnp.concatenate([half_log_snr[None], lambdas[:-1]])


def norm(level: Level) -> Float[Array, ""]:
    """sqrt(alpha^2 + sigma^2); 1 where variance is preserved."""
    return jnp.sqrt(level.alpha**2 + level.sigma**2)


def halfway(level: Level, next_level: Level) -> Level:
    """The level in the middle between two in lambda."""
    middle = 0.5 * (half_log_snr(level) + half_log_snr(next_level))
    return at_ratio(jnp.exp(-middle), (norm(level) * norm(next_level)) ** 0.5)
