"""Rectified-flow Euler and midpoint."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from brain_diffusion_jax.array_types import Image, Key, Level, Prediction
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Memoryless
from brain_diffusion_jax.diffusion.samplers.exponential import off_grid


def _along(x: Image, prediction: Prediction, level: Level, next_level: Level) -> Image:
    """x + (alpha_s - alpha) x0 + (sigma_s - sigma) eps: straight between two levels."""
    return x + (next_level.alpha - level.alpha) * prediction.x0 + (next_level.sigma - level.sigma) * prediction.eps


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FlowEuler(Memoryless):
    """Euler along the straight line between two levels, x_s = x + (sigma_s - sigma)(eps - x0) where alpha + sigma = 1
    (Liu et al. 2022b, rectified flow).

    Order 1; one network call a step. The same as DDIM with eta 0 while x = alpha x0 + sigma eps.
    """

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        return _along(x, denoise(x, level), level, next_level)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FlowMidpoint(Memoryless):
    """The midpoint rule along the straight line between two levels; for any schedule, straight on rectified flow.

    Order 2; two network calls a step, on the last one too (the middle of it is not clean).
    """

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        middle = off_grid((level.alpha + next_level.alpha) / 2, (level.sigma + next_level.sigma) / 2)
        halfway = _along(x, denoise(x, level), level, middle)
        return _along(x, denoise(halfway, middle), level, next_level)
