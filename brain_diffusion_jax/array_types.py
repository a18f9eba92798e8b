"""Shape-annotated types of the seams between networks, noise and samplers."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from brain_diffusion_jax.covariates import Condition

Image: TypeAlias = Float[Array, "batch *spatial channels"]
Params: TypeAlias = PyTree
Key: TypeAlias = PRNGKeyArray
Scalar: TypeAlias = Float[Array, ""]

# Names of modules that nn.scan repeats: their parameters are stacked along a first axis.
SCANNED_BLOCKS, SCANNED_LAYERS = "blocks", "layers"


class Level(NamedTuple):
    """A point of a noise schedule, x_t = alpha x0 + sigma eps.

    t: the time that the network receives; NaN off the grid of the schedule. Fields are scalars or [batch].
    """

    t: Any
    alpha: Any
    sigma: Any


class Prediction(NamedTuple):
    """A denoiser's estimate of x_t's parts; consistent where x_t = alpha x0 + sigma eps."""

    x0: Image
    eps: Image


class DenoiseFn(Protocol):
    """All that samplers and guidance see of a model. Fields of level: scalars or [batch]."""

    def __call__(self, x: Image, level: Level, condition: Condition | None) -> Prediction: ...


class NetworkFn(Protocol):
    """A network with its parameters bound: its output has the meaning of a prediction target. t: [batch]."""

    def __call__(self, x: Image, t: Float[Array, " batch"], condition: Condition | None) -> Image: ...


__all__ = [
    "SCANNED_BLOCKS",
    "SCANNED_LAYERS",
    "Condition",
    "DenoiseFn",
    "Image",
    "Key",
    "Level",
    "NetworkFn",
    "Params",
    "Prediction",
    "Scalar",
]
