"""Guidance between more than a null and a condition: a weaker model, one scale a covariate."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Level, Prediction
from brain_diffusion_jax.diffusion.guidance.classifier_free import Scale, is_off, together, towards
from brain_diffusion_jax.diffusion.prediction import Clipped, expand, under_clipping
from brain_diffusion_jax.errors import InputError


@under_clipping
def autoguidance(denoise: DenoiseFn, scale: Scale, weak: DenoiseFn | None = None) -> DenoiseFn:
    """Away from a worse version of the model (Karras et al. 2024b): x_weak + w (x_model - x_weak), same condition.

    weak: the DenoiseFn of an earlier checkpoint, a shorter EMA or a smaller network. Two network calls of n.
    Off: scale 1; 0 is the weak model.
    """
    if weak is None:
        raise InputError("guidance autoguidance", "weak", "None", "the denoiser of a weaker model")
    if is_off(scale, 1.0):
        return denoise
    other = weak.inner if isinstance(weak, Clipped) else weak

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        return towards(other(x, level, condition), denoise(x, level, condition), scale)

    return guided


@under_clipping
def per_covariate(
    denoise: DenoiseFn, scale: Float[Array, " n"] | tuple[float, ...], order: tuple[int, ...] | None = None
) -> DenoiseFn:
    """One scale for each covariate, e.g. age stronger than sex; in the manner of the two scales of Brooks et al. 2023.

    x = x_null + sum_k w_k (x_{1..k} - x_{1..k-1}), where x_{1..k} is conditioned on the first k covariates in `order`
    (that of the schema by default). scale: [n covariates]; all w equal is classifier-free guidance, all 1 is
    off, a 0 leaves that covariate out. One network call of (n + 1) batch.
    """
    if isinstance(scale, tuple | list) and all(is_off(w) for w in scale):
        return denoise

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        if condition is None:
            raise InputError("guidance per_covariate", "condition", "None", "a condition")
        present = jnp.asarray(condition.present)
        count = present.shape[-1]
        weights = jnp.asarray(scale, x.dtype)
        if weights.shape[-1] != count:
            raise InputError("guidance per_covariate", "scale", weights.shape[-1], f"{count}, one a covariate")
        sequence = jnp.asarray(order if order is not None else range(count))
        rank = jnp.zeros(count, jnp.int32).at[sequence].set(jnp.arange(count, dtype=jnp.int32))
        stairs = [Condition(condition.values, present & (rank < k)) for k in range(count + 1)]
        predictions = together(denoise, x, level, stairs)
        x0, eps = predictions[0]
        for k in range(count):
            w = expand(weights[..., sequence[k]], x)
            x0 = x0 + w * (predictions[k + 1].x0 - predictions[k].x0)
            eps = eps + w * (predictions[k + 1].eps - predictions[k].eps)
        return Prediction(x0, eps)

    return guided
