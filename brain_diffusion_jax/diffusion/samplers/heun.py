"""Heun with churn: the sampler of EDM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from brain_diffusion_jax.array_types import Image, Key, Level, Scalar
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Memoryless, gaussian
from brain_diffusion_jax.diffusion.samplers.exponential import at_ratio, first_order, has_signal, norm, ratio


def heun_step(denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level) -> Image:
    """Trapezoidal step of dy/dr = eps, y = x/alpha, r = sigma/alpha; Euler to a clean level and from pure noise."""
    first = denoise(x, level)
    guess = first_order(first, next_level)

    def correct(guess: Image) -> Image:
        second = denoise(guess, next_level)
        return guess + next_level.alpha * (ratio(next_level) - ratio(level)) / 2 * (second.eps - first.eps)

    return jax.lax.cond((next_level.sigma > 0) & has_signal(level), correct, lambda guess: guess, guess)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Heun(Memoryless):
    """Raise r to (1 + churn) r with fresh noise, then one Heun step (Karras et al. 2022, alg. 2), r = sigma/alpha.

    Order 2 (without churn); two network calls a step, one on the last. churn: gamma of the paper, that is
    S_churn / steps, 0 (off) to sqrt(2) - 1, where low <= r <= high. noise_scale: S_noise.
    """

    churn: Scalar | float = 0.0
    low: Scalar | float = 0.0
    high: Scalar | float = float("inf")
    noise_scale: Scalar | float = 1.0
    LIMITS: ClassVar = {"churn": (0.0, 2**0.5 - 1), "noise_scale": (0.0, 2.0)}
    INTERVAL: ClassVar = ("low", "high")

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        if isinstance(self.churn, float) and self.churn == 0.0:
            return heun_step(denoise, x, level, next_level)
        here = ratio(level)
        inside = (here >= self.low) & (here <= self.high) & has_signal(level)
        churn = jnp.where(inside, self.churn, 0.0)
        raised = at_ratio(here * (1 + churn), norm(level))
        # A level that churn does not raise keeps its t.
        raised = raised._replace(t=jnp.where(churn > 0, raised.t, level.t))
        noise = self.noise_scale * jnp.sqrt(jnp.maximum((1 + churn) ** 2 - 1, 0)) * here * gaussian(keys, x)
        x = raised.alpha * (x / jnp.maximum(level.alpha, 1e-12) + noise)
        return heun_step(denoise, x, raised, next_level)
