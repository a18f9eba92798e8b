"""Networks that read pictures: the age regressor and the class classifier."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from brain_diffusion_jax.api.model import Model
from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.diffusion.guidance import gaussian_log_likelihood
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.training import class_step


class _Judge(Model):
    """params are whole variables: parameters and batch statistics."""

    module: Any

    @functools.cached_property
    def _program(self) -> Any:
        module = self.module

        @functools.partial(jax.jit, static_argnames="options")
        def apply(params: Params, images: Any, options: tuple[tuple[str, Any], ...]) -> Any:
            return module.apply(params, images, **dict(options))

        return apply

    def _run(self, images: Any, batch_size: int, **options: Any) -> np.ndarray:
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise InputError("images", "shape", images.shape, "[n, rows, cols, 1 or 3]")
        if (
            images.dtype == np.uint8
            or not np.all(np.isfinite(images))
            or images.min(initial=0) < 0
            or images.max(initial=0) > 1
        ):
            raise InputError("images", "values", f"{images.dtype} {images.min()} to {images.max()}", "floats in [0, 1]")
        size = min(batch_size, max(1, len(images)))
        parts = []
        for first in range(0, max(1, len(images)), size):
            chunk = images[first : first + size].astype(np.float32)
            padded = np.pad(chunk, ((0, size - len(chunk)), *((0, 0),) * 3))
            parts.append(np.asarray(self._program(self.params, padded, tuple(options.items())))[: len(chunk)])
        return np.concatenate(parts).astype(np.float32)

    def features(self, images: Any, batch_size: int = 64) -> Float[np.ndarray, "n d"]:
        """What the network sees after global pooling. images: [n, rows, cols, 1 or 3] in [0, 1]."""
        return self._run(images, batch_size, features=True)


@dataclasses.dataclass(frozen=True)
class _AgeLikelihood:
    """log N(age read from x0; age asked for, std^2); 0 where no age is asked for. Equal for equal settings."""

    module: Any
    age: Continuous
    column: int
    process: Process
    std: float

    def __call__(self, params: Params, x0: Any, condition: Any) -> Float[Array, " batch"]:
        def wanted(condition: Any) -> Any:
            return self.age.in_unit(condition.values[:, self.column])

        def predict(pictures: Any) -> Any:
            return self.module.apply(params, pictures).reshape(-1)

        if condition is None:
            return jnp.zeros(len(x0))
        log_likelihood = gaussian_log_likelihood(predict, wanted, self.std, self.process.to_unit)(x0, condition)
        return jnp.where(condition.present[:, self.column], log_likelihood, 0.0)


class AgeModel(_Judge):
    """A regressor of age from pictures. kind "age"."""

    kind = "age"

    @functools.cached_property
    def module(self) -> Any:
        """The linen module that `params` belong to."""
        return factory.age_network(self.config.age_model)

    def predict(self, images: Any, batch_size: int = 64) -> Float[np.ndarray, " n"]:
        """Ages in years. images: [n, rows, cols, 1 or 3] in [0, 1]."""
        return self._run(images, batch_size).reshape(-1)

    def likelihood(self, schema: Schema, process: Process, std: float) -> Any:
        """The judge of `guidance.classifier_gradient` for conditions of this schema. std: in years."""
        for column, covariate in enumerate(schema.covariates):
            if covariate.name == "age" and isinstance(covariate, Continuous):
                return jax.tree_util.Partial(_AgeLikelihood(self.module, covariate, column, process, std), self.params)
        raise InputError(self.path, "covariates", ", ".join(schema.names), "an age, a number, to judge")


class ClassModel(_Judge):
    """A classifier of one categorical covariate. kind "class". words: the classes, in the order of `probabilities`."""

    kind = "class"

    needs_contract = True
    contract: Contract

    def __init__(
        self, path: Path, config: ConfigDict, contract: Contract | None, params: Params, step: int | None = None
    ) -> None:
        super().__init__(path, config, contract, params, step)
        self.image_size = tuple(self.contract.image_size)
        target = class_step.find_target(self.contract.schema, config.class_model.target)
        self.column, self.words, self.covariate = target.column, target.words, self.contract.schema.names[target.column]

    @functools.cached_property
    def module(self) -> Any:
        """The linen module that `params` belong to."""
        return factory.class_network(self.config.class_model, len(self.words))

    @property
    def name(self) -> str:
        """For tables: what judged."""
        data = self.contract.fingerprint[7:15]
        return f"{self.config.class_model.backbone} classifier {self.path.name}, data {data}"

    def probabilities(self, images: Any, batch_size: int = 256) -> Float[np.ndarray, "n classes"]:
        """images: [n, rows, cols, 1 or 3] in [0, 1]."""
        logits = self._run(images, batch_size, method="raw").astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)

    def predict(self, images: Any, batch_size: int = 256) -> list[str]:
        """The likeliest class of each picture. images: [n, rows, cols, 1 or 3] in [0, 1]."""
        return [self.words[i] for i in self.probabilities(images, batch_size).argmax(1)]
