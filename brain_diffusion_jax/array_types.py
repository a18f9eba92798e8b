"""Shape-annotated types of the seams between networks, noise and samplers."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from brain_diffusion_jax.covariates import Condition

Image: TypeAlias = Float[Array, "batch *spatial channels"]
Params: TypeAlias = PyTree
Key: TypeAlias = PRNGKeyArray
Scalar: TypeAlias = Float[Array, ""]


class Level(NamedTuple):
    """A point of a noise schedule, x_t = alpha x0 + sigma eps.

    t: what the network is told. Fields are scalars or [batch].
    """

    t: Any
    alpha: Any
    sigma: Any


class Prediction(NamedTuple):
    """What a denoiser says about x_t; consistent: x_t = alpha x0 + sigma eps."""

    x0: Image
    eps: Image


class DenoiseFn(Protocol):
    """All that samplers and guidance see of a model. level: scalar or [batch]."""

    def __call__(self, x: Image, level: Level, condition: Condition | None) -> Prediction: ...


class NetworkFn(Protocol):
    """A raw network with its parameters bound. t: [batch]."""

    def __call__(self, x: Image, t: Float[Array, " batch"], condition: Condition | None) -> Image: ...


__all__ = ["Condition", "DenoiseFn", "Image", "Key", "Level", "NetworkFn", "Params", "Prediction", "Scalar"]
