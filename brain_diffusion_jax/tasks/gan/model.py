"""The WGAN-GP baseline as users see it: conditions in, unit images out, as with a diffusion model."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.gan import Gan, make_gan
from brain_diffusion_jax.seeds import check_seed
from brain_diffusion_jax.tasks.gan.config import GanConfig
from brain_diffusion_jax.tasks.gan.loss import draw_latents
from brain_diffusion_jax.tasks.model import Conditions, Model, refuse_conditions, require_finite


class GanModel(Model):
    """A trained generator. kind "gan". It makes an image in one step: no sampler, steps or guidance."""

    kind = "gan"
    guided = False

    needs_contract = True
    config: GanConfig
    contract: Contract

    @property
    def image_size(self) -> tuple[int, ...]:
        """Rows and columns of its images."""
        return tuple(self.contract.image_size)

    @property
    def schema(self) -> Schema:
        """What conditions mean."""
        return self.contract.schema

    @property
    def conditional(self) -> bool:
        """Whether a condition changes the images."""
        return self.config.gan.conditional

    @functools.cached_property
    def module(self) -> Gan:
        """The linen module that `params` belong to."""
        return make_gan(self.image_size, self.schema.cardinalities, self.config.gan)

    @functools.cached_property
    def _program(self) -> Any:
        module = self.module

        @jax.jit
        def make(params: Params, seed: Any, index: Any, values: Any, present: Any) -> Any:
            z = draw_latents(jax.random.key(seed), index, module.generator.latent)
            return module.apply({"params": params}, z, values, present, method="generate")

        return make

    def sampling(self, **given: Any) -> Sampling:
        """The batch size of the run's config, or the one given; refuses settings of diffusion models."""
        for name, value in given.items():
            if value is not None and name != "batch_size":
                raise InputError(self.path, name, value, "nothing: a WGAN-GP makes an image in one step, unguided")
        return Sampling.resolve(self.config.sample, **given)

    def batches(
        self, conditions: Conditions, sampling: Sampling, seed: int = 0, start: int = 0
    ) -> Iterator[tuple[int, Float[np.ndarray, "b rows cols 1"]]]:
        """Yield (position of the first, images in [0, 1]) batch by batch.

        Image i depends on seed, i and its condition alone; of the settings it reads batch_size; start skips the
        first ones.
        Raises InputError where an image is not finite.
        """
        refuse_conditions(self.path, self.conditional, conditions)
        check_seed(seed, "sample")
        encoded, batch_size = self.schema.encode(conditions), sampling.batch_size
        for first in range(start, len(conditions), batch_size):
            rows = np.arange(first, first + batch_size)
            held = np.minimum(rows, len(conditions) - 1)  # the last batch is padded
            index = jnp.asarray(rows, jnp.int32)
            made = self._program(self.params, np.uint32(seed), index, encoded.values[held], encoded.present[held])
            chosen = conditions[first : first + batch_size]
            made = np.asarray(made)[: len(chosen)]
            require_finite(self.path, np.isfinite(made).all(axis=(1, 2, 3)), chosen, f"seed {seed}")
            yield first, np.clip(made * 0.5 + 0.5, 0.0, 1.0)

    def sample(
        self, conditions: Conditions, seed: int = 0, batch_size: int | None = None, **settings: Any
    ) -> Float[np.ndarray, "n rows cols 1"]:
        """Images in [0, 1], one a condition. Same seed, same images.

        Raises InputError for conditions outside the schema and for settings of diffusion models.
        """
        sampling = self.sampling(batch_size=batch_size, **settings)
        parts = [images for _, images in self.batches(conditions, sampling, seed)]
        return np.concatenate(parts) if parts else np.zeros((0, *self.image_size, 1), np.float32)


MODEL = GanModel
