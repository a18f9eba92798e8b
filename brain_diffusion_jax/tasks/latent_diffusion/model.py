"""A latent diffusion model as users see it: conditions and settings in, images or volumes in [0, 1] out."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.diffusion.codec import LatentCodec
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.latent_diffusion.config import LatentDiffusionConfig
from brain_diffusion_jax.tasks.latent_diffusion.frozen import CODEC, Frozen, decode, within_memory
from brain_diffusion_jax.tasks.model import hash_of


class LatentDiffusionModel(DiffusionModel):
    """A conditional diffusion model on latents. kind "latent_diffusion".

    `network` takes scaled latents [n, *latent, z]; everything else speaks of images. The run holds the autoencoder.
    """

    kind = "latent_diffusion"
    needs_contract = True
    whole_variables = True
    contract: Contract
    config: LatentDiffusionConfig

    def __init__(
        self,
        path: Path,
        config: LatentDiffusionConfig,
        contract: Contract | None,
        params: Params,
        step: int | None = None,
    ) -> None:
        if not {"params", CODEC} <= set(params):
            raise InputError(path, CODEC, "no autoencoder beside the weights", "a run of kind latent_diffusion")
        super().__init__(path, config, contract, params["params"], step)
        self.codec_state = params[CODEC]

    def with_params(self, params: Params) -> LatentDiffusionModel:
        whole = {"params": params, CODEC: self.codec_state}
        return LatentDiffusionModel(self.path, self.config, self.contract, whole, self.step)

    @functools.cached_property
    def version(self) -> str:
        return hash_of({"params": self.params, CODEC: self.codec_state})

    @functools.cached_property
    def codec(self) -> LatentCodec:
        how = self.config.codec
        frozen = Frozen(self.config.autoencoder, how.image_size, self.contract.channels)
        return within_memory(frozen, self.codec_state, how.memory_gib, sample=how.latent == "sample")

    def image_shape(self, image_size: tuple[int, ...] | None = None) -> tuple[int, ...]:
        size = tuple(self.config.codec.image_size)
        if image_size is not None and tuple(image_size) != size:
            raise InputError(self.path, "image_size", tuple(image_size), f"{size}: the autoencoder decodes no other")
        return (*size, self.contract.channels)

    def decoded(self, x: Any) -> Float[np.ndarray, "*n rows cols 1"]:
        """One by one: an image needs many times the memory of its latent."""
        flat = x.reshape(-1, *self.codec.shape)
        images = [np.asarray(decode(self.codec, flat[i : i + 1]))[0] for i in range(len(flat))]
        return np.stack(images).reshape(*x.shape[: -len(self.codec.shape)], *images[0].shape)


MODEL = LatentDiffusionModel
