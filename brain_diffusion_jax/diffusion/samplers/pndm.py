"""PNDM and PLMS."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array

from brain_diffusion_jax.array_types import Image, Key, Level
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn
from brain_diffusion_jax.diffusion.samplers.exponential import at_ratio, first_order, has_signal, norm, ratio

_Carry = tuple[Array, Array]
# Adams-Bashforth weights of the newest eps and its history, by how much history there is.
ADAMS_BASHFORTH = (
    (1.0, 0, 0, 0),
    (3 / 2, -1 / 2, 0, 0),
    (23 / 12, -16 / 12, 5 / 12, 0),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PNDM:
    """Adams-Bashforth on eps with a DDIM step as transfer (Liu et al. 2022, eq. 9 and alg. 2).

    Multistep with four eps; one network call a step. Order 4 while the levels are evenly spaced in
    sigma/alpha, 2 or less otherwise (the weights assume it; "pseudo"). warm_up: True starts with three
    Runge-Kutta steps of four calls, midway in sigma/alpha (F-PNDM); False starts with one improved-Euler
    step of two calls and lower orders (PLMS). One step of it is DDIM's.
    """

    warm_up: bool = field(default=True, metadata=dict(static=True))

    def init(self, x: Image) -> _Carry:
        """The last three eps, and how many there are."""
        return jnp.zeros((3, *x.shape), x.dtype), jnp.zeros((), jnp.int32)

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: _Carry, keys: Key
    ) -> tuple[Image, _Carry]:
        """Runge-Kutta or improved Euler while the history is short, then Adams-Bashforth on four eps."""
        past, count = carry
        prediction = denoise(x, level)
        eps = prediction.eps

        def move(average: Image, where: Level) -> Image:
            """alpha_s/alpha x + (sigma_s - alpha_s sigma/alpha) average, finite at pure noise (alpha = 0) too."""
            stretch = jnp.where(has_signal(level), where.sigma - where.alpha * ratio(level), 0)
            return first_order(prediction, where) + stretch * (average - eps)

        def adams(_: Image) -> Image:
            weights = jnp.asarray(ADAMS_BASHFORTH, x.dtype)[jnp.minimum(count, 3)]
            return weights[0] * eps + jnp.tensordot(weights[1:], past, axes=1)

        def runge_kutta(_: Image) -> Image:
            middle = at_ratio((ratio(level) + ratio(next_level)) / 2, norm(level))
            second = denoise(move(eps, middle), middle).eps
            third = denoise(move(second, middle), middle).eps
            # A clean level has no eps; its nearest neighbour is the middle.
            fourth = jax.lax.cond(
                next_level.sigma > 0, lambda e: denoise(move(e, next_level), next_level).eps, lambda e: e, third
            )
            return (eps + 2 * second + 2 * third + fourth) / 6

        def improved_euler(_: Image) -> Image:
            return (eps + denoise(move(eps, next_level), next_level).eps) / 2

        starting = (count < 3) if self.warm_up else ((count == 0) & (next_level.sigma > 0))
        start = runge_kutta if self.warm_up else improved_euler
        average: Array = jax.lax.cond(starting & has_signal(level), start, adams, eps)
        return move(average, next_level), (jnp.concatenate([eps[None], past[:-1]]), count + 1)


def plms() -> PNDM:
    """PNDM without the Runge-Kutta warm-up."""
    return PNDM(warm_up=False)
