"""Ancestral DDPM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from brain_diffusion_jax.array_types import Image, Key, Level
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, gaussian
from brain_diffusion_jax.diffusion.samplers.ddim import posterior_std, transition_variance


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DDPM:
    """x_s from the posterior q(x_s | x_t, x0) of Ho et al. 2020, eq. 6 and 7, for any s < t.

    Order 1; one network call a step. variance: "fixed_small" (posterior; equals DDIM with eta 1)
    or "fixed_large" (beta). No noise on the step to the clean level.
    """

    variance: str = field(default="fixed_small", metadata=dict(static=True))
    CHOICES: ClassVar = {"variance": ("fixed_small", "fixed_large")}

    def init(self, x: Image) -> tuple[()]:
        return ()

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: tuple[()], keys: Key
    ) -> tuple[Image, tuple[()]]:
        x0 = denoise(x, level).x0
        beta = transition_variance(level, next_level)
        sigma = jnp.maximum(level.sigma, 1e-12)
        mean = (
            next_level.alpha * beta / sigma**2 * x0
            + level.alpha / next_level.alpha * (next_level.sigma / sigma) ** 2 * x
        )
        std = posterior_std(level, next_level) if self.variance == "fixed_small" else jnp.sqrt(beta)
        return mean + jnp.where(next_level.sigma > 0, std, 0) * gaussian(keys, x), carry
