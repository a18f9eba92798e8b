"""DPM-Solver++, deterministic and stochastic: 2M, 3M and 2S."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from brain_diffusion_jax.array_types import Image, Key, Level, Scalar
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn, Memoryless, gaussian
from brain_diffusion_jax.diffusion.samplers.exponential import (
    History,
    first_order,
    half_log_snr,
    halfway,
    has_signal,
    no_history,
    phi,
    remember,
)


@dataclass(frozen=True)
class _Multistep(ABC):
    """x_s = alpha_s x0 + sigma_s (e^(-eta h) eps + sqrt(1 - e^(-2 eta h)) z) + alpha_s change.

    Without the change it is the exact step of the reverse SDE for constant x0; the change adds how x0 moved over the
    last levels. The first step and the step to clean have none.
    """

    eta: Scalar | float = 1.0
    LIMITS: ClassVar = {"eta": (0.0, 1.0)}
    PAST: ClassVar[int] = 1

    def init(self, x: Image) -> History:
        """The last x0 and their lambda, NaN before there are any."""
        return no_history(x, self.PAST)

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: History, keys: Key
    ) -> tuple[Image, History]:
        """The exact step for constant x0, and the change of x0; draws no z where eta is the Python number 0.0."""
        x0, eps = denoise(x, level)[:2]
        here = half_log_snr(level)
        h = half_log_snr(next_level) - here
        mixed = jnp.exp(-self.eta * h) * eps
        if not (isinstance(self.eta, float) and self.eta == 0.0):
            mixed = mixed + jnp.sqrt(-jnp.expm1(-2 * self.eta * h)) * gaussian(keys, x)
        change = jnp.where(next_level.sigma > 0, self.change(x0, here, h, *carry), 0)
        return next_level.alpha * (x0 + change) + next_level.sigma * mixed, remember(carry, x0, here)

    @abstractmethod
    def change(self, x0: Image, here: Array, h: Array, past: Array, past_lambda: Array) -> Image:
        """What the movement of x0 since the past levels adds to it; 0 while there are none."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DPMSolver2M(_Multistep):
    """DPM-Solver++(2M), with eta > 0 its SDE in midpoint form (Lu et al. 2022, alg. 2; k-diffusion's dpmpp_2m_sde).

    x0 is extrapolated linearly in lambda. Order 2 multistep in its deterministic part; one network call a step.
    eta: 0 is the ODE, whose first step and step to clean are DDIM's; 1 the reverse SDE, whose first step is DDPM's.
    """

    def change(self, x0: Image, here: Array, h: Array, past: Array, past_lambda: Array) -> Image:
        """(1 - e^(-(1 + eta) h)) h / (2 h_last) (x0 - x0_last)."""
        second = ~jnp.isnan(past_lambda[0])
        weight = -jnp.expm1(-(1 + self.eta) * h) * h / (2 * jnp.where(second, here - past_lambda[0], 1))
        return jnp.where(second, weight, 0) * (x0 - past[0])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DPMSolver3M(_Multistep):
    """DPM-Solver++(3M) SDE (k-diffusion's dpmpp_3m_sde): x0 is extrapolated as a parabola in lambda.

    Order 3 multistep in its deterministic part; one network call a step. eta: 0 is deterministic. The first
    two steps have orders 1 and 2.
    """

    PAST: ClassVar[int] = 2

    def change(self, x0: Image, here: Array, h: Array, past: Array, past_lambda: Array) -> Image:
        """H phi_2(-H) d1 + H phi_3(-H) d2 with H = (1 + eta) h; d1, d2: divided differences of x0."""
        second, third = ~jnp.isnan(past_lambda)
        r0 = jnp.where(second, here - past_lambda[0], 1) / h
        r1 = jnp.where(third, past_lambda[0] - past_lambda[1], 1) / h
        slope = (x0 - past[0]) / r0
        bend = jnp.where(third, (slope - (past[0] - past[1]) / r1) / (r0 + r1), 0)
        whole = (1 + self.eta) * h
        return jnp.where(second, whole * (phi(2, -whole) * (slope + r0 * bend) + phi(3, -whole) * bend), 0)


def dpm_solver_2m() -> DPMSolver2M:
    """DPM-Solver++(2M) without noise."""
    return DPMSolver2M(eta=0.0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DPMSolver2S(Memoryless):
    """DPM-Solver++(2S) (Lu et al. 2022, alg. 1) with r = 1/2: x0 is taken halfway to the next level in lambda.

    x_s = sigma_s/sigma x + alpha_s (1 - e^-h) x0_half. Order 2, single step; two network calls a step, one
    on the last. To a clean level and from pure noise: DDIM.
    """

    def move(self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, keys: Key) -> Image:
        first = denoise(x, level)
        h = half_log_snr(next_level) - half_log_snr(level)
        middle = halfway(level, next_level)

        def correct(guess: Image) -> Image:
            second = denoise(first_order(first, middle), middle)
            return guess - next_level.alpha * jnp.expm1(-h) * (second.x0 - first.x0)

        guess = first_order(first, next_level)
        return jax.lax.cond((next_level.sigma > 0) & has_signal(level), correct, lambda g: g, guess)
