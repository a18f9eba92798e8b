"""What the classifier learns from: which value of a categorical covariate does an image show?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.labels import Label, find, trained_output
from brain_diffusion_jax.training.augmentation import Augmentation
from brain_diffusion_jax.training.step import Batch, LossFn, Metrics, sample_weights
from brain_diffusion_jax.training.task import MeasureFn


@dataclass(frozen=True)
class ClassTarget(Label):
    """Where a batch keeps the class, an index into `words`."""

    words: tuple[str, ...]


def find_target(schema: Schema, name: str) -> ClassTarget:
    """The target covariate of a schema; "" takes the only categorical one. Refuses numbers."""
    column, covariate = find(schema, name, Categorical, "class_model.target")
    return ClassTarget(column, covariate.values)


def make_loss(
    network: AgeNetwork, target: ClassTarget, *, label_smoothing: float = 0.0, augmentation: Augmentation | None = None
) -> LossFn:
    """loss(params, model_state, batch, key, update) for `step.build_step`: cross entropy; metrics: "accuracy".

    batch: image uint8|float32 [b, rows, cols, 1], values f32 [b, n], present bool [b, n], index [b].
    Images whose class is absent have no weight.
    """

    def loss(
        params: Params, model_state: Any, batch: Batch, key: Key, update: Array
    ) -> tuple[Array, tuple[Metrics, Any]]:
        logits, changed = trained_output(network, params, model_state, batch, key, augmentation)
        word = batch["values"][:, target.column].astype(jnp.int32)
        weight = sample_weights(batch, target.known(batch))
        wanted = optax.smooth_labels(jax.nn.one_hot(word, len(target.words)), label_smoothing)
        each = optax.softmax_cross_entropy(logits, wanted)
        accuracy = jnp.mean((logits.argmax(-1) == word) * weight)
        return jnp.mean(each * weight), ({"accuracy": accuracy}, changed)

    return loss


def make_measure(network: AgeNetwork, target: ClassTarget) -> MeasureFn:
    """measure(params, model_state, batch, key) -> {"validation_loss" (cross entropy), "validation_accuracy": [b]}."""

    def measure(params: Params, model_state: Any, batch: Batch, key: Key) -> Metrics:
        logits: Any = network.apply({"params": params, **model_state}, to_unit(batch["image"]), method="raw")
        word = batch["values"][:, target.column].astype(jnp.int32)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, word)
        return {"validation_loss": each, "validation_accuracy": (logits.argmax(-1) == word).astype(jnp.float32)}

    return measure
