"""Denoisers with a memory: a guidance rule whose prediction depends on earlier steps, e.g. momentum.

A DenoiseFn has no state. One that needs some is a `Remembering`; `samplers.base.run` carries its memory through
the scan together with the sampler's carry. Every network call of a step sees the memory that the step began with; what
the first call leaves is the next step's.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import PyTree

from brain_diffusion_jax.array_types import Condition, DenoiseFn, Image, Level, Prediction
from brain_diffusion_jax.diffusion.prediction import Clipped


@runtime_checkable
class Remembering(Protocol):
    """What `run` needs of a denoiser with a memory. It may lie under `Clipped`, but under no other rule."""

    def start(self, x: Image) -> PyTree:
        """The memory before the first step."""
        ...

    def recall(self, x: Image, level: Level, condition: Condition | None, memory: PyTree) -> tuple[Prediction, PyTree]:
        """(prediction, memory after it)."""
        ...


def start(denoise: DenoiseFn, x: Image) -> PyTree:
    """The memory of a denoiser before the first step; () of one that has none."""
    inner = denoise.inner if isinstance(denoise, Clipped) else denoise
    return inner.start(x) if isinstance(inner, Remembering) else ()


def recall(
    denoise: DenoiseFn, x: Image, level: Level, condition: Condition | None, memory: PyTree
) -> tuple[Prediction, PyTree]:
    """(prediction, memory after it) of any denoiser."""
    if isinstance(denoise, Clipped) and isinstance(denoise.inner, Remembering):
        prediction, memory = denoise.inner.recall(x, level, condition, memory)
        return denoise.clip(prediction, x, level), memory
    if isinstance(denoise, Remembering):
        return denoise.recall(x, level, condition, memory)
    return denoise(x, level, condition), memory
