"""Guidance: transforms of a DenoiseFn. w = 1 is off, w = 0 is unconditional, everywhere.

Scales are traced values: one compiled program serves all of them, and vmap over them is a sweep.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Level, Prediction
from brain_diffusion_jax.diffusion.prediction import expand, under_clipping
from brain_diffusion_jax.errors import InputError


def null_of(condition: Condition | None) -> Condition:
    """The unconditional twin of a condition: nothing present."""
    if condition is None:
        raise InputError("guidance", "condition", "None", "a condition; an unconditional model cannot be guided")
    values = jnp.asarray(condition.values)
    return Condition(jnp.zeros_like(values), jnp.zeros(values.shape, bool))


def both(denoise: DenoiseFn, x: Image, level: Level, condition: Condition | None) -> tuple[Prediction, Prediction]:
    """(null, conditional) predictions from one network call on a batch of 2n."""
    null = null_of(condition)
    assert condition is not None
    twice = Condition(*(jnp.concatenate([a, jnp.asarray(b)]) for a, b in zip(null, condition, strict=True)))
    levels = Level(*(v if jnp.ndim(v) == 0 else jnp.concatenate([v, v]) for v in level))
    x0, eps = denoise(jnp.concatenate([x, x]), levels, twice)[:2]
    n = x.shape[0]
    return Prediction(x0[:n], eps[:n]), Prediction(x0[n:], eps[n:])


def towards(null: Prediction, conditional: Prediction, scale: Float[Array, ""] | float) -> Prediction:
    """null + w (conditional - null), in x0 and in eps alike: both are affine in the network's output."""
    w = expand(scale, conditional.x0)
    return Prediction(*(a + w * (b - a) for a, b in zip(null, conditional, strict=True)))


def is_off(scale: object, value: float = 1.0) -> bool:
    """Whether a scale is known, before tracing, to be `value`."""
    return isinstance(scale, int | float) and float(scale) == value


@under_clipping
def classifier_free(denoise: DenoiseFn, scale: Float[Array, ""] | float) -> DenoiseFn:
    """Classifier-free guidance (Ho & Salimans 2022): x_null + w (x_cond - x_null).

    scale: traced scalar or [batch], one network call of 2n. A Python 1.0 (off) or 0.0 calls it with n.
    """
    if is_off(scale, 1.0):
        return denoise
    if is_off(scale, 0.0):
        return lambda x, level, condition: denoise(x, level, null_of(condition))

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        return towards(*both(denoise, x, level, condition), scale)

    return guided
