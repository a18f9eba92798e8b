"""The opened classifier of a categorical covariate."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork
from brain_diffusion_jax.tasks.classifier.config import ClassConfig
from brain_diffusion_jax.tasks.classifier.loss import find_target
from brain_diffusion_jax.tasks.predictor import PredictorModel


class ClassModel(PredictorModel):
    """A classifier of one categorical covariate. kind "class". words: the classes, in the order of `probabilities`."""

    kind = "class"

    needs_contract = True
    config: ClassConfig
    contract: Contract

    def __init__(
        self, path: Path, config: ClassConfig, contract: Contract | None, params: Params, step: int | None = None
    ) -> None:
        super().__init__(path, config, contract, params, step)
        self.image_size = tuple(self.contract.image_size)
        target = find_target(self.contract.schema, config.class_model.target)
        self.column, self.words, self.covariate = target.column, target.words, self.contract.schema.names[target.column]

    @functools.cached_property
    def module(self) -> AgeNetwork:
        """The linen module that `params` belong to."""
        return factory.class_network(self.config.class_model, len(self.words))

    @property
    def name(self) -> str:
        """For tables: network, run and data."""
        data = self.contract.fingerprint[7:15]
        return f"{self.config.class_model.backbone} classifier {self.path.name}, data {data}"

    def probabilities(self, images: Any, batch_size: int = 256) -> Float[np.ndarray, "n classes"]:
        """images: [n, rows, cols, 1 or 3] in [0, 1]."""
        logits = self._run(images, batch_size, method="raw").astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)

    def predict(self, images: Any, batch_size: int = 256) -> list[str]:
        """The likeliest class of each image. images: [n, rows, cols, 1 or 3] in [0, 1]."""
        return [self.words[i] for i in self.probabilities(images, batch_size).argmax(1)]


MODEL = ClassModel
