"""Prediction targets: from a network's output about x_t = alpha x0 + sigma eps to x0 and eps, and DenoiseFn.

kind    output                 x0                                     eps
eps     eps                    (x - sigma eps) / alpha                output
x0      x0                     output                                 (x - alpha x0) / sigma
v       alpha eps - sigma x0   (alpha x - sigma v)/(alpha^2+sigma^2)  (sigma x + alpha v)/(alpha^2+sigma^2)
flow    eps - x0               (x - sigma u)/(alpha + sigma)          (x + alpha u)/(alpha + sigma)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Level, NetworkFn, Prediction
from brain_diffusion_jax.diffusion.schedules import DiscreteSchedule
from brain_diffusion_jax.errors import require_one_of

KINDS = ("eps", "v", "x0", "flow")


class VariancePrediction(NamedTuple):
    """A Prediction of a network with twice the channels; variance: as the second half of its output."""

    x0: Image
    eps: Image
    variance: Image


def check_kind(kind: str) -> str:
    """`kind` itself; InputError if it is none of KINDS."""
    require_one_of(kind, KINDS, "diffusion", "prediction")
    return kind


def expand(coefficient: Any, x: Image) -> Array:
    """A scalar or [batch] coefficient, shaped to multiply x: [batch, *spatial, channels], in its dtype."""
    coefficient = jnp.asarray(coefficient, x.dtype)
    return (
        coefficient.reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim)) if coefficient.ndim else coefficient
    )


def add_noise(x0: Image, eps: Image, level: Level) -> Image:
    """x_t = alpha x0 + sigma eps."""
    return expand(level.alpha, x0) * x0 + expand(level.sigma, x0) * eps


def _eps_of(x0: Image, x: Image, level: Level) -> Image:
    alpha, sigma = expand(level.alpha, x), expand(level.sigma, x)
    # At a clean level eps is unknowable; 0 keeps x0 and is never used by a step.
    return jnp.where(sigma > 0, (x - alpha * x0) / jnp.where(sigma > 0, sigma, 1), 0)


def from_x0(x0: Image, x: Image, level: Level) -> Prediction:
    """The consistent prediction whose clean image is x0."""
    return Prediction(x0, _eps_of(x0, x, level))


def from_eps(eps: Image, x: Image, level: Level) -> Prediction:
    """The consistent prediction whose noise is eps."""
    return Prediction((x - expand(level.sigma, x) * eps) / expand(level.alpha, x), eps)


def to_prediction(output: Image, x: Image, level: Level, kind: str) -> Prediction:
    """The network's output as Prediction(x0, eps); see the table above."""
    if check_kind(kind) == "eps":
        return from_eps(output, x, level)
    if kind == "x0":
        return from_x0(output, x, level)
    alpha, sigma = expand(level.alpha, x), expand(level.sigma, x)
    if kind == "v":
        norm = alpha**2 + sigma**2
        return Prediction((alpha * x - sigma * output) / norm, (sigma * x + alpha * output) / norm)
    return Prediction((x - sigma * output) / (alpha + sigma), (x + alpha * output) / (alpha + sigma))


def target(x0: Image, eps: Image, level: Level, kind: str) -> Image:
    """The prediction target of a network of this kind (the table above); the inverse of `to_prediction`."""
    if check_kind(kind) == "eps":
        return eps
    if kind == "x0":
        return x0
    if kind == "v":
        return expand(level.alpha, x0) * eps - expand(level.sigma, x0) * x0
    return eps - x0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Clipped:
    """A DenoiseFn with x0 clipped to [low, high]. Guidance acts inside it: guided first, clipped last.

    keep_eps: leave eps as it was (MONAI's DDIM); otherwise eps follows the clipped x0.
    """

    inner: DenoiseFn
    low: float
    high: float
    keep_eps: bool = field(default=False, metadata=dict(static=True))

    def __call__(self, x: Image, level: Level, condition: Condition | None) -> Prediction:
        return self.clip(self.inner(x, level, condition), x, level)

    def clip(self, prediction: Prediction, x: Image, level: Level) -> Prediction:
        """The prediction with its x0 inside the bounds."""
        x0 = jnp.clip(prediction.x0, self.low, self.high)
        return prediction._replace(x0=x0, eps=prediction.eps if self.keep_eps else _eps_of(x0, x, level))


def under_clipping(rule: Callable[..., DenoiseFn]) -> Callable[..., DenoiseFn]:
    """A transform of DenoiseFn that acts inside `Clipped`, so that the guided x0 is what is clipped."""

    @wraps(rule)
    def transform(denoise: DenoiseFn, *args: Any, **kwargs: Any) -> DenoiseFn:
        if isinstance(denoise, Clipped):
            return Clipped(transform(denoise.inner, *args, **kwargs), denoise.low, denoise.high, denoise.keep_eps)
        return rule(denoise, *args, **kwargs)

    return transform


def _on_grid(level: Level, schedule: DiscreteSchedule) -> tuple[Level, Array]:
    """(level of the schedule with the same alpha/sigma, factor on x); levels that have a t pass as they are.

    x0 and eps do not change when x, alpha and sigma are multiplied by the same factor.
    """
    located = schedule.locate(level)
    known = ~jnp.isnan(jnp.asarray(level.t))
    factor = jnp.sqrt((located.alpha**2 + located.sigma**2) / (level.alpha**2 + level.sigma**2))
    factor = jnp.where(known, 1, factor)
    return Level(jnp.where(known, level.t, located.t), level.alpha * factor, level.sigma * factor), factor


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NetworkDenoiser:
    """A DenoiseFn from a network. A pytree: give the network as jax.tree_util.Partial(apply, params), and a
    jitted sampler takes the parameters as an argument instead of baking them in.

    kind: the prediction target, one of KINDS. schedule: gives off-grid levels (t is NaN, made by a sampler between
    two others) their t, and scales x to the schedule; None: every level has its own t. A network with twice the
    channels of x gives a VariancePrediction.
    """

    network: NetworkFn
    kind: str = field(default="eps", metadata=dict(static=True))
    schedule: DiscreteSchedule | None = field(default=None, metadata=dict(static=True))

    def __call__(self, x: Image, level: Level, condition: Condition | None) -> Prediction:
        if self.schedule is not None:
            level, factor = _on_grid(level, self.schedule)
            x = expand(factor, x) * x
        t = jnp.broadcast_to(jnp.asarray(level.t, jnp.float32), x.shape[:1])
        output = self.network(x, t, condition).astype(x.dtype)
        channels = x.shape[-1]
        prediction = to_prediction(output[..., :channels], x, level, self.kind)
        if output.shape[-1] != 2 * channels:
            return prediction
        learned = VariancePrediction(*prediction, output[..., channels:])
        return learned  # type: ignore[return-value]
