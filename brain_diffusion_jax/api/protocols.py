"""What commands and studies ask of a model: one that makes images, or one that reads them."""

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
    """What every opened run folder has. contract: None for foreign weights without one; step: of the checkpoint."""

    path: Path
    step: int | None

    @property
    def config(self) -> RunConfig:
        """The settings of the run."""
        ...

    @property
    def kind(self) -> str:
        """ "diffusion", "age", "class" or "gan"."""
        ...

    @property
    def version(self) -> str:
        """A short hash of all weights."""
        ...


class Generator(Opened, Protocol):
    """A model that makes images."""

    @property
    def config(self) -> GeneratorConfig:
        """The settings of the run."""
        ...

    @property
    def contract(self) -> Contract | None:
        """The data that it was trained on."""
        ...

    @property
    def guided(self) -> bool:
        """Whether samplers, steps and guidance scales mean anything to it."""
        ...

    @property
    def conditional(self) -> bool:
        """Whether a condition changes its images."""
        ...

    @property
    def schema(self) -> Schema:
        """What conditions mean."""
        ...

    def sampling(self, **given: float | str | None) -> Sampling:
        """The settings of its config with what is given (None: not given). Raises InputError for what cannot be."""
        ...

    def batches(
        self, conditions: Conditions, sampling: Sampling, seed: int = 0, start: int = 0
    ) -> Iterator[tuple[int, Float[np.ndarray, "b rows cols 1"]]]:
        """Yield (position of the first, images in [0, 1]) batch by batch.

        Image i depends on the settings, the seed, i and its condition alone; start skips the first ones.
        """
        ...


class Predictor(Opened, Protocol):
    """A model that reads images [n, rows, cols, 1 or 3] in [0, 1]."""

    def predict(self, images: Any, batch_size: int = 64) -> Any:
        """What it says of each image: years float [n], or words [n]."""
        ...

    def features(self, images: Any, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """What its network sees after global pooling."""
        ...


def draw(
    model: Generator, conditions: Conditions, sampling: Sampling, seed: int = 0
) -> Float[np.ndarray, "n rows cols 1"]:
    """Images in [0, 1], one a condition (at least one)."""
    return np.concatenate([images for _, images in model.batches(conditions, sampling, seed)])
