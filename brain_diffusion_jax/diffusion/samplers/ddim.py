"""DDIM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image, Key, Level, Scalar
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Memoryless, gaussian


def transition_variance(level: Level, next_level: Level) -> Float[Array, ""]:
    """Variance beta of x_t given x_s: sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2.

    The same as 1 - alpha_t^2/alpha_s^2 where variance is preserved, without its cancellation near clean.
    """
    return jnp.maximum(level.sigma**2 - (level.alpha / next_level.alpha) ** 2 * next_level.sigma**2, 0)


def posterior_std(level: Level, next_level: Level) -> Float[Array, ""]:
    """Standard deviation of q(x_s | x_t, x0): sigma_s/sigma_t sqrt(beta) (Ho et al. 2020, eq. 7)."""
    return next_level.sigma / jnp.maximum(level.sigma, 1e-12) * jnp.sqrt(transition_variance(level, next_level))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DDIM(Memoryless):
    """x_s = alpha_s x0 + sqrt(sigma_s^2 - d^2) eps + d z, d = eta x posterior std (Song et al. 2021, eq. 12, 16).

    Order 1; one network call a step. eta: 0 is deterministic, 1 is ancestral DDPM; the Python number 0.0 draws no z.
    """

    eta: Scalar | float = 0.0
    LIMITS: ClassVar = {"eta": (0.0, 1.0)}

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        x0, eps = denoise(x, level)[:2]
        std = self.eta * posterior_std(level, next_level)
        along = jnp.sqrt(jnp.maximum(next_level.sigma**2 - std**2, 0))
        mean = next_level.alpha * x0 + along * eps
        if isinstance(self.eta, float) and self.eta == 0.0:
            return mean
        return mean + std * gaussian(keys, x)
