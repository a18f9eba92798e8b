"""Stochastic DPM-Solver++: SDE-2M and SDE-3M."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from brain_diffusion_jax.array_types import Image, Key, Level, Scalar
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, gaussian
from brain_diffusion_jax.diffusion.samplers.exponential import half_log_snr, phi

_History = tuple[Image, Image, Array, Array]


def _base(prediction, next_level: Level, h: Array, eta: Scalar | float, keys: Key) -> Image:
    """The exact step of the reverse SDE for constant x0: alpha_s x0 + sigma_s e^(-eta h) eps + noise."""
    x0, eps = prediction[:2]
    noise = jnp.sqrt(-jnp.expm1(-2 * eta * h)) * gaussian(keys, x0)
    return next_level.alpha * x0 + next_level.sigma * (jnp.exp(-eta * h) * eps + noise)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DPMSolverSDE2M:
    """DPM-Solver++(2M) SDE, midpoint form (Lu et al. 2022; k-diffusion's dpmpp_2m_sde).

    Order 2 multistep in its deterministic part; one network call a step. eta: 0 is DPM-Solver++(2M), 1 the
    reverse SDE. First step: the exact Gaussian step, which with eta 1 is DDPM's.
    """

    eta: Scalar | float = 1.0
    LIMITS: ClassVar = {"eta": (0.0, 1.0)}

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
        """The exact Gaussian step plus the slope of x0 between the last two levels."""
        last_x0, last_lambda = carry
        prediction = denoise(x, level)
        here = half_log_snr(level)
        h = half_log_snr(next_level) - here
        second = ~jnp.isnan(last_lambda) & (next_level.sigma > 0)
        weight = -jnp.expm1(-(1 + self.eta) * h) * h / (2 * jnp.where(second, here - last_lambda, 1))
        x = _base(prediction, next_level, h, self.eta, keys)
        x = x + next_level.alpha * jnp.where(second, weight, 0) * (prediction.x0 - last_x0)
        return x, (prediction.x0, here)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DPMSolverSDE3M:
    """DPM-Solver++(3M) SDE (k-diffusion's dpmpp_3m_sde): x0 extrapolated as a parabola in lambda.

    With H = (1 + eta) h, d1 and d2 the divided differences: + alpha_s (H phi_2(-H) d1 + H phi_3(-H) d2).
    Order 3 multistep in its deterministic part; one network call a step. eta: 0 is deterministic. The first
    two steps have orders 1 and 2.
    """

    eta: Scalar | float = 1.0
    LIMITS: ClassVar = {"eta": (0.0, 1.0)}

    def init(self, x: Image) -> _History:
        """The last two x0 and their lambda, NaN before there are any."""
        return jnp.zeros_like(x), jnp.zeros_like(x), jnp.asarray(jnp.nan, x.dtype), jnp.asarray(jnp.nan, x.dtype)

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: _History, keys: Key
    ) -> tuple[Image, _History]:
        """The exact Gaussian step plus slope and curvature of x0 over the last three levels."""
        x0_1, x0_2, lambda_1, lambda_2 = carry
        prediction = denoise(x, level)
        here = half_log_snr(level)
        h = half_log_snr(next_level) - here
        second = ~jnp.isnan(lambda_1) & (next_level.sigma > 0)
        third = second & ~jnp.isnan(lambda_2)
        r0 = jnp.where(second, here - lambda_1, 1) / h
        r1 = jnp.where(third, lambda_1 - lambda_2, 1) / h
        slope = (prediction.x0 - x0_1) / r0
        bend = jnp.where(third, (slope - (x0_1 - x0_2) / r1) / (r0 + r1), 0)
        whole = (1 + self.eta) * h
        correction = phi(2, -whole) * (slope + r0 * bend) + phi(3, -whole) * bend
        x = _base(prediction, next_level, h, self.eta, keys)
        x = x + next_level.alpha * jnp.where(second, whole * correction, 0)
        return x, (prediction.x0, x0_1, here, lambda_1)
