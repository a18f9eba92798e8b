"""How a latent diffusion model is trained: as one of images, under the codec of a frozen autoencoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from brain_diffusion_jax.array_types import Key
from brain_diffusion_jax.config import part
from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.tasks.diffusion.loss import DiffusionLoss, make_init, make_loss, make_measure
from brain_diffusion_jax.tasks.diffusion.preview import make_preview
from brain_diffusion_jax.tasks.diffusion.task import loading as image_loading
from brain_diffusion_jax.tasks.diffusion.task import settings
from brain_diffusion_jax.tasks.latent_diffusion.config import LatentDiffusionConfig
from brain_diffusion_jax.tasks.latent_diffusion.frozen import (
    CODEC,
    Frozen,
    cached_latents,
    codec_state,
    open_autoencoder,
    scale_of,
)
from brain_diffusion_jax.tasks.spec import DataInfo, Loading
from brain_diffusion_jax.training import optimizer
from brain_diffusion_jax.training.devices import distributed
from brain_diffusion_jax.training.task import Task

__all__ = ["build", "loading", "resolve", "settings", "shards", "stored"]


def resolve(config: LatentDiffusionConfig, data: DataInfo) -> LatentDiffusionConfig:
    """With what follows from the autoencoder: its network, scale and version, and the size of the latents.

    Refuses an autoencoder of other images than those of the data, and one without a scale.
    """
    model = open_autoencoder(replace(config.codec, weights=""))
    if data.shards:
        require_same(Contract.load(data.shards), model.contract, config.codec.autoencoder, ignore=("schema", "split"))
    mean, std = scale_of(model, config.codec.scale)
    codec = replace(config.codec, mean=mean, std=std, weights=model.version, image_size=model.contract.image_size)
    planes = len(data.schema.names) if config.conditioning.planes else 0
    network = replace(
        config.model,
        spatial_dims=len(codec.image_size),
        in_channels=model.latent_channels + planes,
        out_channels=model.latent_channels,
    )
    process = config.diffusion
    process = replace(process, clip_x0=process.clip_x0 and process.clip_range is not None)
    return replace(config, codec=codec, autoencoder=model.config.autoencoder, model=network, diffusion=process)


def shards(config: LatentDiffusionConfig, data: DataInfo) -> str:
    """The folder of cached latents, made by the first process where it is not there."""
    if jax.process_index() == 0:
        cached_latents(config.codec, data.shards)
    distributed.barrier("latents")
    return str(cached_latents(config.codec, data.shards))


def stored(config: LatentDiffusionConfig, data: DataInfo) -> tuple[tuple[int, ...], str]:
    """(shape, dtype) of the posteriors in those shards."""
    shape = config.autoencoder.latent_shape(data.shape)
    return (*shape[:-1], 2 * shape[-1]), "float32"


def build(config: LatentDiffusionConfig, data: DataInfo) -> Task:
    """The task of the sections of a diffusion model, and `codec`. config: of `resolve`."""
    module = factory.diffusion_network(config.model, config.conditioning, data.schema)
    process, sample = config.diffusion, config.codec.latent == "sample"
    how = part(DiffusionLoss, config.train, batch_size=config.data.batch_size)
    frozen = Frozen(config.autoencoder, config.codec.image_size, data.channels)
    state = codec_state(config.codec, open_autoencoder(config.codec).network_params)
    codec = frozen.codec(state, sample=sample, stored=True)
    plain = make_init(module, codec.shape, len(data.schema.names), how)

    def init(key: Key) -> dict[str, Any]:
        return {**plain(key), CODEC: state}

    def codec_of(model_state: Any) -> Any:
        return frozen.codec(model_state[CODEC], sample=sample, stored=True)

    return Task(
        kind="latent_diffusion",
        init=init,
        make_loss=lambda axis_name: make_loss(module, process, how, codec_of),
        measure=make_measure(module, process, codec_of),
        preview=make_preview(module, process, config.sample, data.validation, codec) if data.validation else None,
        **optimizer.recipe(config.optimizer, config.train.num_steps),
    )


def loading(config: LatentDiffusionConfig, schema: Schema) -> Loading:
    """As section `data` says; refuses flips, since the latent of a flipped image is not the flipped latent."""
    if config.data.mirror:
        raise InputError("config", "data.mirror", config.data.mirror, "0 for latents; the autoencoder's own data flip")
    return image_loading(config, schema)
