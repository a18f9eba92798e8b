"""DPM-Solver++: 2M and 2S."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

from brain_diffusion_jax.array_types import Image, Key, Level
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Memoryless
from brain_diffusion_jax.diffusion.samplers.exponential import first_order, half_log_snr, halfway, has_signal


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DPMSolver2M:
    """DPM-Solver++(2M) (Lu et al. 2022, alg. 2): x0 extrapolated linearly in lambda from the last two levels.

    x_s = sigma_s/sigma x + alpha_s (1 - e^-h) (x0 + h/(2 h_last) (x0 - x0_last)).
    Order 2, multistep; one network call a step. First step, and the step to clean: DDIM.
    """

    def init(self, x: Image) -> tuple[Image, Array]:
        """The last x0 and its lambda, NaN before there is one."""
        return jnp.zeros_like(x), jnp.asarray(jnp.nan, x.dtype)

    def step(
        self,
        denoise: BoundDenoiseFn,
        x: Image,
        level: Level,
        next_level: Level,
        carry: tuple[Image, Array],
        keys: Key,
    ) -> tuple[Image, tuple[Image, Array]]:
        """First order, plus the slope of x0 between the last two levels."""
        last_x0, last_lambda = carry
        prediction = denoise(x, level)
        here = half_log_snr(level)
        h = half_log_snr(next_level) - here
        second = ~jnp.isnan(last_lambda) & (next_level.sigma > 0)
        weight = jnp.where(second, -jnp.expm1(-h) * h / (2 * jnp.where(second, here - last_lambda, 1)), 0)
        x = first_order(prediction, next_level) + next_level.alpha * weight * (prediction.x0 - last_x0)
        return x, (prediction.x0, here)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DPMSolver2S(Memoryless):
    """DPM-Solver++(2S) (Lu et al. 2022, alg. 1) with r = 1/2: x0 is taken halfway to the next level in lambda.

    x_s = sigma_s/sigma x + alpha_s (1 - e^-h) x0_half. Order 2, single step; two network calls a step, one
    on the last. To a clean level and from pure noise: DDIM.
    """

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: tuple[()], keys: Key
    ) -> tuple[Image, tuple[()]]:
        """First order, corrected by x0 at the level halfway in lambda."""
        first = denoise(x, level)
        h = half_log_snr(next_level) - half_log_snr(level)
        middle = halfway(level, next_level)

        def correct(guess: Image) -> Image:
            second = denoise(first_order(first, middle), middle)
            return guess - next_level.alpha * jnp.expm1(-h) * (second.x0 - first.x0)

        guess = first_order(first, next_level)
        return jax.lax.cond((next_level.sigma > 0) & has_signal(level), correct, lambda g: g, guess), carry
