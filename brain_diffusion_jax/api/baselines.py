"""PCA-Gauss as a model that studies and commands can ask for images: the baseline beside a trained one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics import pca_gauss
from brain_diffusion_jax.seeds import check_seed
from brain_diffusion_jax.tasks.model import Conditions

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from brain_diffusion_jax.api.protocols import Generator

NAME = "PCA-Gauss"


class PcaGaussModel:
    """A `Generator` without a network, fitted in seconds: see `evaluation.metrics.pca_gauss`.

    config: that of the run it stands beside (sections sample, study, data). path: a folder that names it.
    """

    kind, guided, conditional = "pca-gauss", False, True
    step: int | None = None

    def __init__(self, fitted: pca_gauss.PcaGauss, contract: Contract, config: ConfigDict, path: Path) -> None:
        self.fitted, self.contract, self.config, self.path = fitted, contract, config, path

    @property
    def schema(self) -> Schema:
        """What conditions mean."""
        return self.contract.schema

    @property
    def version(self) -> str:
        """A short hash of what was fitted."""
        arrays = self.fitted.components.mean, self.fitted.components.variances, self.fitted.weights, self.fitted.root
        return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:12]

    def sampling(self, **given: float | str | None) -> Sampling:
        """The batch size of the config, or the one given; refuses settings of diffusion models."""
        for name, value in given.items():
            if value is not None and name != "batch_size":
                raise InputError(self.path, name, value, f"nothing: {NAME} draws images at once, unguided")
        return Sampling.resolve(self.config.sample, **given)

    def batches(
        self, conditions: Conditions, sampling: Sampling, seed: int = 0, start: int = 0
    ) -> Iterator[tuple[int, Float[np.ndarray, "b *spatial c"]]]:
        """Yield (position of the first, images in [0, 1]) batch by batch.

        Image i depends on the seed, i and its condition alone; start skips the first ones.
        """
        check_seed(seed, "sample")
        key = jax.random.key(seed)
        for first in range(start, len(conditions), sampling.batch_size):
            condition = self.schema.encode(conditions[first : first + sampling.batch_size])
            yield first, self.fitted.sample(condition, key, first)


def fit_beside(
    model: Generator, train: ImageSet, contract: Contract, components: int = pca_gauss.COMPONENTS
) -> PcaGaussModel:
    """PCA-Gauss of the images that `model` learned from, with the settings of its run."""
    condition = contract.schema.encode(train.conditions)
    fitted = pca_gauss.fit(train.images, condition, contract.schema.cardinalities, components)
    return PcaGaussModel(fitted, contract, model.config, model.path / "pca-gauss")
