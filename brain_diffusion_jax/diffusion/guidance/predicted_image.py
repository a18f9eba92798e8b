"""Guidance by the predicted image x0 itself: the gradient of a predictor on it, and its range of intensities."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Level, Prediction
from brain_diffusion_jax.diffusion.guidance.classifier_free import Scale, is_off
from brain_diffusion_jax.diffusion.prediction import expand, from_x0, under_clipping
from brain_diffusion_jax.errors import InputError

LogLikelihood = Callable[[Image, Condition | None], Float[Array, " batch"]]


def gaussian_log_likelihood(
    predict: Callable[[Image], Float[Array, " batch"]],
    wanted: Callable[[Condition | None], Float[Array, " batch"]],
    std: float,
    to_unit: Callable[[Image], Image] = lambda x: x,
) -> LogLikelihood:
    """log N(predict(image); wanted(condition), std^2) up to a constant, e.g. an age regressor with a std of 5 years.

    predict: differentiable, [batch, *spatial, channels] -> [batch]; it receives to_unit(x0). wanted: the value that
    the condition asks for, in the unit of predict, as is std.
    """
    return lambda x0, condition: -0.5 * ((predict(to_unit(x0)) - wanted(condition)) / std) ** 2


@under_clipping
def classifier_gradient(
    denoise: DenoiseFn, scale: Scale, log_likelihood: LogLikelihood | None = None, through_network: bool = False
) -> DenoiseFn:
    """Up the gradient of log p(condition | predicted x0) (Dhariwal & Nichol 2021, alg. 2, on x0: Bansal et al. 2023).

    x0 <- x0 + s sigma^2/alpha d(log p)/dx: what adding s grad log p to the score does to x0; eps follows.
    log_likelihood: (x0, condition) -> [batch]; InputError without one. through_network: differentiate the denoiser
    too; otherwise dx0/dx is taken as 1/alpha. Off: scale 0 (this scale is a strength, not a mixture).
    """
    if log_likelihood is None:
        raise InputError("guidance classifier_gradient", "log_likelihood", "None", "a differentiable log-likelihood")
    if is_off(scale, 0.0):
        return denoise

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        alpha, sigma = expand(level.alpha, x), expand(level.sigma, x)
        if through_network:

            def score(x: Image) -> tuple[Array, Image]:
                x0 = denoise(x, level, condition).x0
                return jnp.sum(log_likelihood(x0, condition)), x0

            gradient, x0 = jax.grad(score, has_aux=True)(x)
            push = sigma**2 / jnp.maximum(alpha, 1e-3) * gradient
        else:
            x0 = denoise(x, level, condition).x0
            gradient = jax.grad(lambda p: jnp.sum(log_likelihood(p, condition)))(x0)
            push = (sigma / jnp.maximum(alpha, 1e-3)) ** 2 * gradient
        return from_x0(x0 + expand(scale, x) * push, x, level)

    return guided


@under_clipping
def dynamic_threshold(
    denoise: DenoiseFn, scale: Scale, percentile: Scale = 0.995, data_range: tuple[float, float] = (-1.0, 1.0)
) -> DenoiseFn:
    """Scale an x0 that leaves the data range into it instead of clipping it (Saharia et al. 2022, sec. 2.3).

    With s = max(1, percentile of |x0| from the middle of the range, in half-widths), x0 is clipped to s half-widths
    and divided by s. scale: 0 is off, 1 applies all of it. Apply it to an already guided denoiser.
    """
    if is_off(scale, 0.0):
        return denoise
    middle, half = (data_range[0] + data_range[1]) / 2, (data_range[1] - data_range[0]) / 2

    def guided(x: Image, level: Level, condition: Condition | None) -> Prediction:
        x0 = (denoise(x, level, condition).x0 - middle) / half
        limit = jnp.quantile(jnp.abs(x0).reshape(x0.shape[0], -1), percentile, axis=1)
        limit = expand(jnp.maximum(limit, 1.0), x0)
        squeezed = jnp.clip(x0, -limit, limit) / limit
        return from_x0((x0 + expand(scale, x) * (squeezed - x0)) * half + middle, x, level)

    return guided
