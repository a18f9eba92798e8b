"""Restart sampling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from brain_diffusion_jax.array_types import Image, Key, Level, Scalar
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Memoryless, gaussian
from brain_diffusion_jax.diffusion.samplers.exponential import ratio
from brain_diffusion_jax.diffusion.samplers.heun import heun_step


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Restart(Memoryless):
    """Heun, going back up between two levels `repeats` times (Xu et al. 2023, alg. 2): noise is added from the
    cleaner to the noisier one, which forgets accumulated errors, and Heun comes down again.

    Order 2 between restarts; two network calls a step, none on the way up. start, stop: the noisier and the
    cleaner level as fractions of the steps, 0 <= start < stop <= 1. repeats 0 is Heun.
    """

    repeats: int = field(default=2, metadata=dict(static=True))
    start: float = field(default=0.5, metadata=dict(static=True))
    stop: float = field(default=0.8, metadata=dict(static=True))
    noise_scale: Scalar | float = 1.0
    LIMITS: ClassVar = {"repeats": (0, 100), "start": (0.0, 1.0), "stop": (0.0, 1.0), "noise_scale": (0.0, 2.0)}
    INTERVAL: ClassVar = ("start", "stop")

    def visits(self, num_steps: int) -> Int[np.ndarray, " visits"]:
        """Positions in the levels [num_steps + 1], in the order visited."""
        first = min(round(self.start * num_steps), max(num_steps - 2, 0))
        last = min(max(round(self.stop * num_steps), first + 1), num_steps - 1)
        if last <= first:  # too few steps to go back in
            return np.arange(num_steps + 1)
        again = np.tile(np.arange(first, last + 1), self.repeats)
        return np.concatenate([np.arange(last + 1), again, np.arange(last + 1, num_steps + 1)])

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:

        def up(x: Image) -> Image:
            extra = jnp.sqrt(jnp.maximum(ratio(next_level) ** 2 - ratio(level) ** 2, 0))
            return next_level.alpha * (x / level.alpha + self.noise_scale * extra * gaussian(keys, x))

        def down(x: Image) -> Image:
            return heun_step(denoise, x, level, next_level)

        return jax.lax.cond(ratio(next_level) > ratio(level), up, down, x)
