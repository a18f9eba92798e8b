"""The opened regressor of age."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image, Params
from brain_diffusion_jax.covariates import Condition, Continuous, Schema
from brain_diffusion_jax.diffusion.codec import Codec
from brain_diffusion_jax.diffusion.guidance import gaussian_log_likelihood
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork
from brain_diffusion_jax.tasks.age.config import AgeConfig
from brain_diffusion_jax.tasks.predictor import PredictorModel


@dataclasses.dataclass(frozen=True)
class _AgeLikelihood:
    """log N(age read from x0; requested age, std^2); 0 where none is requested. Equal for equal settings."""

    module: Any
    age: Continuous
    column: int
    std: float

    def __call__(self, params: Params, codec: Codec, x0: Image, condition: Condition | None) -> Float[Array, " batch"]:
        def wanted(condition: Any) -> Any:
            return self.age.in_unit(condition.values[:, self.column])

        def predict(images: Any) -> Any:
            return self.module.apply(params, images).reshape(-1)

        if condition is None:
            return jnp.zeros(len(x0))
        log_likelihood = gaussian_log_likelihood(predict, wanted, self.std, codec.decode)(x0, condition)
        return jnp.where(condition.present[:, self.column], log_likelihood, 0.0)


class AgeModel(PredictorModel):
    """A regressor of age from images. kind "age"."""

    kind = "age"
    config: AgeConfig

    @functools.cached_property
    def module(self) -> AgeNetwork:
        """The linen module that `params` belong to."""
        return factory.age_network(self.config.age_model)

    def predict(self, images: Any, batch_size: int = 64) -> Float[np.ndarray, " n"]:
        """Ages in years. images: [n, *spatial, 1 or 3] in [0, 1]."""
        return self._run(images, batch_size).reshape(-1)

    def likelihood(self, schema: Schema, codec: Codec, std: float) -> jax.tree_util.Partial:
        """The predictor of `guidance.classifier_gradient` for conditions of this schema. std: in years.

        codec: of the model that is guided; it makes what the regressor reads.
        """
        for column, covariate in enumerate(schema.covariates):
            if covariate.name == "age" and isinstance(covariate, Continuous):
                return jax.tree_util.Partial(_AgeLikelihood(self.module, covariate, column, std), self.params, codec)
        raise InputError(self.path, "covariates", ", ".join(schema.names), "an age that is a number")


MODEL = AgeModel
