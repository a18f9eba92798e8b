"""Classifier-free guidance and its relatives: combinations of a null and a conditional prediction.

Scales are traced values: one compiled program serves all of them, and vmap over them is a sweep.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Level, Prediction
from brain_diffusion_jax.diffusion.prediction import expand, from_x0, under_clipping
from brain_diffusion_jax.errors import InputError

Scale = Float[Array, ""] | float


def null_of(condition: Condition | None) -> Condition:
    """The unconditional twin of a condition: nothing present."""
    if condition is None:
        raise InputError("guidance", "condition", "None", "a condition; an unconditional model cannot be guided")
    values = jnp.asarray(condition.values)
    return Condition(jnp.zeros_like(values), jnp.zeros(values.shape, bool))


def together(denoise: DenoiseFn, x: Image, level: Level, conditions: list[Condition]) -> list[Prediction]:
    """The predictions for several conditions of the same x, from one network call."""
    count, n = len(conditions), x.shape[0]
    stacked = Condition(*(jnp.concatenate([jnp.asarray(c[i]) for c in conditions]) for i in range(2)))
    levels = Level(*(v if jnp.ndim(v) == 0 else jnp.concatenate([v] * count) for v in level))
    x0, eps = denoise(jnp.concatenate([x] * count), levels, stacked)[:2]
    return [Prediction(x0[i * n : (i + 1) * n], eps[i * n : (i + 1) * n]) for i in range(count)]


def both(denoise: DenoiseFn, x: Image, level: Level, condition: Condition | None) -> tuple[Prediction, Prediction]:
    """(null, conditional) predictions from one network call on a batch of 2n."""
    null = null_of(condition)
    assert condition is not None
    first, second = together(denoise, x, level, [null, condition])
    return first, second


def towards(null: Prediction, conditional: Prediction, scale: Scale) -> Prediction:
    """null + w (conditional - null), in x0 and in eps alike: both are affine in the network's output."""
    w = expand(scale, conditional.x0)
    return Prediction(*(a + w * (b - a) for a, b in zip(null[:2], conditional[:2], strict=True)))


def is_off(scale: object, value: float = 1.0) -> bool:
    """Whether a scale is known, before tracing, to be `value`."""
    return isinstance(scale, int | float) and float(scale) == value


@under_clipping
def classifier_free(denoise: DenoiseFn, scale: Scale) -> DenoiseFn:
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


@under_clipping
def interval(denoise: DenoiseFn, scale: Scale, low: Scale = 0.0, high: Scale = float("inf")) -> DenoiseFn:
    """Classifier-free guidance only where low <= sigma/alpha <= high (Kynkäänniemi et al. 2024); w = 1 elsewhere.

    Off: scale 1. All noise levels, that is plain classifier-free guidance: low 0, high infinity.
    """
    if isinstance(low, int | float) and isinstance(high, int | float) and not low <= high:  # NaN too
        raise InputError("guidance", "interval", (low, high), "low <= high, both in sigma/alpha")
    if is_off(scale, 1.0):
        return denoise

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        # sigma <= high alpha instead of a ratio, which has no value at pure noise.
        below = jnp.where(jnp.isinf(high), True, level.sigma <= jnp.where(jnp.isinf(high), 0.0, high) * level.alpha)
        inside = (level.sigma >= low * level.alpha) & below
        return towards(*both(denoise, x, level, condition), jnp.where(inside, scale, 1.0))

    return guided


def _std(x: Image) -> Array:
    return jnp.std(x, axis=tuple(range(1, x.ndim)), keepdims=True)


@under_clipping
def rescaled(denoise: DenoiseFn, scale: Scale, rescale: Scale = 0.7) -> DenoiseFn:
    """Guided x0 brought back to the standard deviation of the conditional x0 (Lin et al. 2024, eq. 14-16).

    x0 <- phi x0 std(x0_cond)/std(x0) + (1 - phi) x0; eps follows. rescale: phi, 0 (plain classifier-free
    guidance) to 1. Off: scale 1.
    """
    if is_off(scale, 1.0):
        return denoise

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        null, conditional = both(denoise, x, level, condition)
        x0 = towards(null, conditional, scale).x0
        factor = _std(conditional.x0) / jnp.maximum(_std(x0), 1e-8)
        phi = expand(rescale, x0)
        return from_x0(x0 * (phi * factor + 1 - phi), x, level)

    return guided


@under_clipping
def cfg_plus_plus(denoise: DenoiseFn, scale: Scale, renoise: Scale = 1.0) -> DenoiseFn:
    """CFG++ (Chung et al. 2024, alg. 2): the guided x0 with the null's eps to go on with.

    renoise: 1 is CFG++, where scale is the paper's lambda in [0, 1]; 0 is plain classifier-free guidance.
    Off: scale 1 with renoise 0, or a Python scale of 1. x0 and eps are deliberately not consistent: for
    first-order samplers (ddim, euler).
    """
    if is_off(scale, 1.0):
        return denoise

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        null, conditional = both(denoise, x, level, condition)
        mixed = towards(null, conditional, scale)
        return Prediction(mixed.x0, mixed.eps + expand(renoise, x) * (null.eps - mixed.eps))

    return guided
