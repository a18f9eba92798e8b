"""Ancestral DDPM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from brain_diffusion_jax.array_types import Image, Key, Level
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Memoryless, gaussian
from brain_diffusion_jax.diffusion.samplers.ddim import posterior_std, transition_variance
from brain_diffusion_jax.errors import InputError

VARIANCES = ("fixed_small", "fixed_large", "learned", "learned_range")


def posterior_mean(x: Image, x0: Image, level: Level, next_level: Level) -> Image:
    """Mean of q(x_s | x_t, x0) (Ho et al. 2020, eq. 7, for any s < t); alpha_s x0 from a level without noise."""
    sigma = jnp.maximum(level.sigma, 1e-12)
    from_x0 = next_level.alpha * transition_variance(level, next_level) / sigma**2
    mean = from_x0 * x0 + level.alpha / next_level.alpha * (next_level.sigma / sigma) ** 2 * x
    return jnp.where(level.sigma > 0, mean, next_level.alpha * x0)


def posterior_variance(kind: str, level: Level, next_level: Level, learned: Image | None = None) -> Array:
    """Variance of the step: that of q(x_s | x_t, x0), beta, or learned.

    learned: the network's output. learned_range: -1 to 1 between the two fixed ones, linearly as MONAI does
    (Nichol & Dhariwal 2021, eq. 15, interpolate the logarithms).
    """
    small, large = posterior_std(level, next_level) ** 2, transition_variance(level, next_level)
    if kind in ("fixed_small", "fixed_large"):
        return small if kind == "fixed_small" else large
    if learned is None:
        raise InputError("sampler ddpm", "variance", kind, "a network with twice the channels, without guidance")
    return learned if kind == "learned" else small + (learned + 1) / 2 * (large - small)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DDPM(Memoryless):
    """x_s from the posterior q(x_s | x_t, x0) of Ho et al. 2020, eq. 6 and 7, for any s < t.

    Order 1; one network call a step. variance: one of VARIANCES; fixed_small equals DDIM with eta 1. No noise
    on the step to the clean level.
    """

    variance: str = field(default="fixed_small", metadata=dict(static=True))
    CHOICES: ClassVar = {"variance": VARIANCES}

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        prediction = denoise(x, level)
        variance = posterior_variance(self.variance, level, next_level, getattr(prediction, "variance", None))
        std = jnp.sqrt(jnp.where(next_level.sigma > 0, variance, 0))
        return posterior_mean(x, prediction.x0, level, next_level) + std * gaussian(keys, x)
