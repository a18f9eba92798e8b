"""A GAN as users see it: conditions in, images in [0, 1] out, as with a diffusion model."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.gan import Gan
from brain_diffusion_jax.models.volume_gan import VolumeGan
from brain_diffusion_jax.seeds import check_seed
from brain_diffusion_jax.tasks.gan.config import GanConfig
from brain_diffusion_jax.tasks.gan.loss import draw_latents
from brain_diffusion_jax.tasks.gan.objectives import Game
from brain_diffusion_jax.tasks.model import Conditions, Model, refuse_conditions, require_finite


class GanModel(Model):
    """A trained generator. kind "gan". It makes an image in one step: no sampler, steps or guidance."""

    kind = "gan"
    guided = False

    needs_contract = True
    config: GanConfig
    contract: Contract

    @property
    def schema(self) -> Schema:
        """What conditions mean."""
        return self.contract.schema

    @property
    def conditional(self) -> bool:
        """Whether a condition changes the images."""
        return self.config.gan.chosen.conditional

    @functools.cached_property
    def game(self) -> Game:
        """The networks that `params` belong to, and what they learned from."""
        return self.config.gan.chosen.game(self.contract.shape, self.schema.cardinalities)

    @property
    def module(self) -> Gan | VolumeGan:
        """The linen module that `params` belong to."""
        return self.game.module

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
                raise InputError(self.path, name, value, "nothing: a GAN makes an image in one step, unguided")
        return Sampling.resolve(self.config.sample, **given)

    def batches(
        self, conditions: Conditions, sampling: Sampling, seed: int = 0, start: int = 0
    ) -> Iterator[tuple[int, Float[np.ndarray, "b *spatial c"]]]:
        """Yield (position of the first, images in [0, 1]) batch by batch.

        Image i depends on seed, i and its condition alone; of the settings it reads batch_size; start skips the
        first ones. Raises InputError where an image is not finite.
        """
        refuse_conditions(self.path, self.conditional, conditions)
        check_seed(seed, "sample")
        encoded, batch_size = self.schema.encode(conditions), sampling.batch_size
        for first in range(start, len(conditions), batch_size):
            rows = np.arange(first, first + batch_size)
            held = np.minimum(rows, len(conditions) - 1)  # the last batch is padded
            made = self._made(rows, encoded.values[held], encoded.present[held], seed)
            chosen = conditions[first : first + batch_size]
            yield first, self._unit(made[: len(chosen)], chosen, seed)

    def at(
        self, conditions: Conditions, places: Sequence[int], sampling: Sampling
    ) -> Float[np.ndarray, "n *spatial c"]:
        """Images in [0, 1], one a condition, with the z of these places in an endless list of seed 0."""
        refuse_conditions(self.path, self.conditional, conditions)
        encoded = self.schema.encode(conditions)
        return self._unit(self._made(places, encoded.values, encoded.present, 0), conditions, 0)

    def _made(self, places: Sequence[int] | np.ndarray, values: Any, present: Any, seed: int) -> np.ndarray:
        """A batch as the generator makes it; places: of its z."""
        index = np.asarray(places, np.uint32)
        return np.asarray(self._program(self.params, np.uint32(seed), index, values, present))

    def _unit(self, made: np.ndarray, conditions: Conditions, seed: int) -> Float[np.ndarray, "n *spatial c"]:
        """The same in [0, 1]. Raises InputError where an image is not finite."""
        require_finite(self.path, np.isfinite(made).all(axis=tuple(range(1, made.ndim))), conditions, f"seed {seed}")
        return np.asarray(np.clip(self.game.to_unit(made), 0.0, 1.0))

    def sample(
        self, conditions: Conditions, seed: int = 0, batch_size: int | None = None, **settings: Any
    ) -> Float[np.ndarray, "n *spatial c"]:
        """Images in [0, 1], one a condition. Same seed, same images.

        Raises InputError for conditions outside the schema and for settings of diffusion models.
        """
        sampling = self.sampling(batch_size=batch_size, **settings)
        parts = [images for _, images in self.batches(conditions, sampling, seed)]
        return np.concatenate(parts) if parts else np.zeros((0, *self.contract.shape), np.float32)


MODEL = GanModel
