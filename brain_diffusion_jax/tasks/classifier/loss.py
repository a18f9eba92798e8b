"""What the classifier learns from: which value of a categorical covariate does an image show?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.training.augmentation import Augmentation, augment
from brain_diffusion_jax.training.step import (
    Batch,
    LossFn,
    Metrics,
    dropout_by_sample,
    sample_keys,
    sample_weights,
)


@dataclass(frozen=True)
class ClassTarget:
    """Where a batch keeps the class: column `column` of values, an index into `words`."""

    column: int
    words: tuple[str, ...]

    def known(self, batch: Batch) -> Bool[Array, " b"]:
        """The samples whose class is known."""
        return batch["present"][:, self.column]


def find_target(schema: Schema, name: str) -> ClassTarget:
    """The target covariate of a schema; "" takes the only categorical one. Refuses numbers."""
    categorical = [c.name for c in schema.covariates if isinstance(c, Categorical)]
    if not name:
        if len(categorical) != 1:
            raise InputError("config", "class_model.target", "nothing", f"one of {categorical}")
        name = categorical[0]
    covariate = schema[name]
    if not isinstance(covariate, Categorical):
        raise InputError("config", "class_model.target", name, f"a categorical covariate, of {categorical}")
    return ClassTarget(schema.names.index(name), covariate.values)


def make_loss(
    network: AgeNetwork, target: ClassTarget, *, label_smoothing: float = 0.0, augmentation: Augmentation | None = None
) -> LossFn:
    """loss(params, model_state, batch, key, update) for `step.build_step`: cross entropy; metrics: "accuracy".

    batch: image uint8|float32 [b, rows, cols, 1], values f32 [b, n], present bool [b, n], index [b].
    Pictures whose class is absent have no weight.
    """

    def loss(
        params: Params, model_state: Any, batch: Batch, key: Key, update: Array
    ) -> tuple[Array, tuple[Metrics, Any]]:
        augment_key, dropout_key = jax.random.split(key)
        images = to_unit(batch["image"])
        if augmentation is not None:
            images = jax.vmap(lambda x, k: augment(x, k, augmentation))(
                images, sample_keys(augment_key, batch["index"])
            )
        word = batch["values"][:, target.column].astype(jnp.int32)
        weight = sample_weights(batch, target.known(batch))
        with dropout_by_sample(batch["index"]):
            logits, changed = network.apply(
                {"params": params, **model_state},
                images,
                True,
                method="raw",
                mutable=list(model_state),
                rngs={"dropout": dropout_key},
            )
        wanted = optax.smooth_labels(jax.nn.one_hot(word, len(target.words)), label_smoothing)
        each = optax.softmax_cross_entropy(logits, wanted)
        accuracy = jnp.mean((logits.argmax(-1) == word) * weight)
        return jnp.mean(each * weight), ({"accuracy": accuracy}, dict(changed))

    return loss


def make_measure(network: AgeNetwork, target: ClassTarget) -> Callable[..., Metrics]:
    """measure(params, model_state, batch, key) -> {"validation_loss" (cross entropy), "validation_accuracy": [b]}."""

    def measure(params: Params, model_state: Any, batch: Batch, key: Key) -> Metrics:
        logits: Any = network.apply({"params": params, **model_state}, to_unit(batch["image"]), method="raw")
        word = batch["values"][:, target.column].astype(jnp.int32)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, word)
        return {"validation_loss": each, "validation_accuracy": (logits.argmax(-1) == word).astype(jnp.float32)}

    return measure
