"""UniPC: a predictor and a corrector that share their network calls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image, Key, Level
from brain_diffusion_jax.diffusion.samplers.base import BoundDenoiseFn
from brain_diffusion_jax.diffusion.samplers.exponential import History, half_log_snr, no_history, phi, remember

# x before the step that led here, its sigma and lambda, and past x0.
_Carry = tuple[Image, Array, Array, History]


def _weights(nodes: list[Array], h: Float[Array, ""]) -> Float[Array, " k"]:
    """rho with sum_j rho_j node_j^(i-1) = i! phi_{i+1}(-h) / phi_1(-h), i = 1..k (Zhao et al. 2023, eq. 5)."""
    rows = jnp.stack([jnp.stack([node**i for node in nodes]) for i in range(len(nodes))])
    moments = [math.factorial(i) * phi(i + 1, -h) / phi(1, -h) for i in range(1, len(nodes) + 1)]
    return jnp.linalg.solve(rows, jnp.stack(moments))


def _change(x0: list[Image], h: Array, nodes: list[Array]) -> Image:
    """sum_j rho_j (x0_j - x0) / node_j over all points but the first, the one the step starts from."""
    factors = _weights(nodes, h) / jnp.stack(nodes)
    return jnp.tensordot(factors, jnp.stack([other - x0[0] for other in x0[1:]]), axes=1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class UniPC:
    """UniPC-p multistep, data prediction, B2(h) = e^h - 1 (Zhao et al. 2023).

    Order p + 1 with the corrector (p = order, 2 or 3); one network call a step: the call at a predicted x
    also corrects it. Orders grow from 1 over the first steps; the step to clean is DDIM's. Without the
    corrector and with p = 2 it is DPM-Solver++(2M) up to the form of its weights.
    """

    order: int = field(default=2, metadata=dict(static=True))
    CHOICES: ClassVar = {"order": (2, 3)}

    def init(self, x: Image) -> _Carry:
        """x, sigma and lambda of the last level; the last `order` x0 and their lambda, NaN before there are any."""
        return x, jnp.ones((), x.dtype), jnp.zeros((), x.dtype), no_history(x, self.order)

    def step(
        self, denoise: BoundDenoiseFn, x: Image, level: Level, next_level: Level, carry: _Carry, keys: Key
    ) -> tuple[Image, _Carry]:
        """Correct x with the x0 just predicted there, then predict x at next_level."""
        last_x, last_sigma, last_lambda, (past_x0, past_lambda) = carry
        x0, here = denoise(x, level).x0, half_log_snr(level)
        known = jnp.sum(~jnp.isnan(past_lambda))

        def corrected(points: int):
            """x again, from the level before, with the new x0 and `points` - 1 older ones."""

            def branch(x: Image) -> Image:
                h = here - last_lambda
                nodes = [(past_lambda[j] - last_lambda) / h for j in range(1, points)] + [jnp.ones_like(h)]
                values = [past_x0[j] for j in range(points)] + [x0]
                base = level.sigma / last_sigma * last_x - level.alpha * jnp.expm1(-h) * past_x0[0]
                # One point: the paper's rho_1 = 1/2.
                change = 0.5 * (x0 - past_x0[0]) if points == 1 else _change(values, h, nodes)
                return base - level.alpha * jnp.expm1(-h) * change

            return branch

        x = jax.lax.switch(known, [lambda x: x, *(corrected(k + 1) for k in range(self.order))], x)
        past_x0, past_lambda = history = remember((past_x0, past_lambda), x0, here)
        h = half_log_snr(next_level) - here
        first = next_level.sigma / jnp.maximum(level.sigma, 1e-12) * x
        first = first - next_level.alpha * jnp.where(next_level.sigma > 0, jnp.expm1(-h), -1.0) * x0

        def predicted(points: int):
            def branch(first: Image) -> Image:
                nodes = [(past_lambda[j] - here) / h for j in range(1, points)]
                change = _change([past_x0[j] for j in range(points)], h, nodes)
                return first - next_level.alpha * jnp.expm1(-h) * change

            return branch

        usable = jnp.where(next_level.sigma > 0, jnp.minimum(known, self.order - 1), 0)
        options = [lambda first: first, *(predicted(k + 2) for k in range(self.order - 1))]
        moved = jax.lax.switch(usable, options, first)
        return moved, (x, level.sigma, here, history)
