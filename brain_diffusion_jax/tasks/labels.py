"""What networks learn that read images: the label in a batch, and their output for augmented images in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.training.augmentation import Augmentation, augment
from brain_diffusion_jax.training.step import Batch, dropout_by_sample, sample_keys

T = TypeVar("T", Continuous, Categorical)


@dataclass(frozen=True)
class Label:
    """Where a batch keeps the label: in this column of its values."""

    column: int

    def known(self, batch: Batch) -> Bool[Array, " b"]:
        """The samples whose label is known."""
        return batch["present"][:, self.column]


def find(schema: Schema, name: str, wanted: type[T], setting: str) -> tuple[int, T]:
    """(column, covariate) of a name; "" takes the only covariate of the type.

    setting: the config's, for the InputError where there is no such covariate of the type.
    """
    names = [c.name for c in schema.covariates if isinstance(c, wanted)]
    name = names[0] if not name and len(names) == 1 else name
    covariate = schema[name] if name in names else None
    if not isinstance(covariate, wanted):
        raise InputError("config", setting, name or "nothing", f"a {wanted.__name__.lower()} covariate, of {names}")
    return schema.names.index(name), covariate


def make_init(network: AgeNetwork, shape: tuple[int, ...]) -> Callable[[Key], dict[str, Any]]:
    """init(key) -> variables, for images of shape (rows, cols, channels)."""
    return lambda key: dict(network.init(key, jnp.zeros((1, *shape), jnp.float32)))


def trained_output(
    network: AgeNetwork, params: Params, model_state: Any, batch: Batch, key: Key, augmentation: Augmentation | None
) -> tuple[Array, dict[str, Any]]:
    """(`network.raw`, changed model_state) of a batch in training: augmented images, dropout."""
    augment_key, dropout_key = jax.random.split(key)
    images = to_unit(batch["image"])
    if augmentation is not None and augmentation.active:
        keys = sample_keys(augment_key, batch["index"])
        images = jax.vmap(lambda x, k: augment(x, k, augmentation))(images, keys)
    with dropout_by_sample(batch["index"]):
        raw, changed = network.apply(
            {"params": params, **model_state},
            images,
            True,
            method="raw",
            mutable=list(model_state),
            rngs={"dropout": dropout_key},
        )
    return raw, dict(changed)
