"""DEIS: tAB-DEIS with eps extrapolated in log(sigma/alpha)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from brain_diffusion_jax.array_types import Image, Key, Level
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn
from brain_diffusion_jax.diffusion.samplers.exponential import (
    History,
    first_order,
    half_log_snr,
    no_history,
    phi,
    ratio,
    remember,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DEIS:
    """DEIS, log-rho form (Zhang & Chen 2023, eq. 15): dy/dr = eps, eps a polynomial in u = log(r/r_t), r = sigma/alpha.

    y_s = y + int eps dr with r = r_t e^u, so that the k-th moment is r_t U^(k+1) k! e^U phi_{k+1}(-U).
    Order p = `order` (1 to 3), multistep; one network call a step. Order 1 is DDIM, as are the first step and
    the step to clean.
    """

    order: int = field(default=3, metadata=dict(static=True))
    CHOICES: ClassVar = {"order": (1, 2, 3)}

    def init(self, x: Image) -> History:
        """The last two eps and their lambda, NaN before there are any."""
        return no_history(x, 2)

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: History, keys: Key
    ) -> tuple[Image, History]:
        """First order plus the integral of the eps polynomial through up to `order` levels."""
        (eps_1, eps_2), (lambda_1, lambda_2) = carry
        prediction = denoise(x, level)
        here = half_log_snr(level)
        end = here - half_log_snr(next_level)
        second = ~jnp.isnan(lambda_1) & (next_level.sigma > 0) & (self.order >= 2)
        third = second & ~jnp.isnan(lambda_2) & (self.order >= 3)
        u1 = jnp.where(second, here - lambda_1, 1)
        u2 = jnp.where(third, here - lambda_2, 2 * u1)
        moment_1 = end**2 * jnp.exp(end) * phi(2, -end)
        moment_2 = 2 * end**3 * jnp.exp(end) * phi(3, -end)
        slope = (eps_1 - prediction.eps) / u1
        bend = jnp.where(third, ((eps_2 - eps_1) / (u2 - u1) - slope) / u2, 0)
        change = moment_1 * slope + (moment_2 - u1 * moment_1) * bend
        x = first_order(prediction, next_level) + jnp.where(second, next_level.alpha * ratio(level), 0) * change
        return x, remember(carry, prediction.eps, here)
