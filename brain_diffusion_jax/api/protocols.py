"""What commands and studies need of a model: one that makes images, or one that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.tasks.model import Conditions

if TYPE_CHECKING:
    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.diffusion.sampling import Sampling
    from brain_diffusion_jax.tasks.run_config import GeneratorConfig, RunConfig


class Opened(Protocol):
    """An opened run folder. kind: as in `tasks.spec.TASKS`; step: of the checkpoint."""

    kind: str
    path: Path
    step: int | None

    @property
    def contract(self) -> Contract | None:
        """Of the data that it was trained on; None of foreign weights without one."""
        ...

    @property
    def config(self) -> RunConfig:
        """The settings of the run."""
        ...

    @property
    def version(self) -> str:
        """A short hash of all weights."""
        ...


class Generator(Opened, Protocol):
    """A model that makes images. guided: whether samplers, steps and guidance scales mean anything to it."""

    guided: bool

    @property
    def schema(self) -> Schema:
        """What conditions mean."""
        ...

    @property
    def config(self) -> GeneratorConfig:
        """The settings of the run."""
        ...

    @property
    def conditional(self) -> bool:
        """Whether a condition changes its images."""
        ...

    def sampling(self, **given: float | str | None) -> Sampling:
        """The settings of its config with what is given (None: not given). Raises InputError for what cannot be."""
        ...

    def batches(
        self, conditions: Conditions, sampling: Sampling, seed: int = 0, start: int = 0
    ) -> Iterator[tuple[int, Float[np.ndarray, "b *spatial c"]]]:
        """Yield (position of the first, images in [0, 1]) batch by batch.

        Image i depends on the settings, the seed, i and its condition alone; start skips the first ones.
        """
        ...


class Predictor(Opened, Protocol):
    """A model that reads images [n, *spatial, channels] in [0, 1]."""

    def predict(self, images: Any, batch_size: int = 64) -> Any:
        """What it says of each image: years float [n], or words [n]."""
        ...

    def features(self, images: Any, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """What its network sees after global pooling."""
        ...


def draw(
    model: Generator, conditions: Conditions, sampling: Sampling, seed: int = 0
) -> Float[np.ndarray, "n *spatial c"]:
    """Images in [0, 1], one a condition (at least one)."""
    return np.concatenate([images for _, images in model.batches(conditions, sampling, seed)])
