"""Euler and Euler-ancestral."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from brain_diffusion_jax.array_types import Image, Key, Level, Scalar
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Memoryless, gaussian
from brain_diffusion_jax.diffusion.samplers.exponential import TINY, first_order, ratio


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Euler(Memoryless):
    """y_s = y + (r_s - r) eps with y = x/alpha, r = sigma/alpha (Karras et al. 2022, alg. 1 without Heun).

    Order 1; one network call a step. The same as DDIM with eta 0 on any schedule.
    """

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        return first_order(denoise(x, level), next_level)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EulerAncestral(Memoryless):
    """Euler down to r_down, then noise up to r_s (k-diffusion's euler_ancestral), r = sigma/alpha.

    r_up = min(r_s, eta sqrt(r_s^2 (r^2 - r_s^2) / r^2)), r_down^2 = r_s^2 - r_up^2.
    Order 1; one network call a step. eta: 0 is Euler; with 1 the same as DDIM with eta 1, that is DDPM.
    """

    eta: Scalar | float = 1.0
    LIMITS: ClassVar = {"eta": (0.0, 1.0)}

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        here, there = ratio(level), ratio(next_level)
        left = there / jnp.maximum(here, TINY)  # here is 0 at a first level without noise
        up = jnp.minimum(there, self.eta * there * jnp.sqrt(jnp.maximum(1 - left**2, 0)))
        down = jnp.sqrt(jnp.maximum(there**2 - up**2, 0))
        x0, eps = denoise(x, level)[:2]
        return next_level.alpha * (x0 + down * eps + up * gaussian(keys, x))
