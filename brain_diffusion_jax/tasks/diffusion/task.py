"""How a diffusion model is trained."""

from __future__ import annotations

from dataclasses import replace

from brain_diffusion_jax.config import part
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.tasks.diffusion.config import DiffusionConfig
from brain_diffusion_jax.tasks.diffusion.loss import DiffusionLoss, make_init, make_loss, make_measure
from brain_diffusion_jax.tasks.diffusion.preview import make_preview
from brain_diffusion_jax.tasks.spec import DataInfo, Loading
from brain_diffusion_jax.training import optimizer
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.task import Task


def resolve(config: DiffusionConfig, data: DataInfo) -> DiffusionConfig:
    """With a network of as many dimensions as the images have."""
    return replace(config, model=replace(config.model, spatial_dims=len(data.image_size)))


def build(config: DiffusionConfig, data: DataInfo) -> Task:
    """The task of config sections `model`, `conditioning`, `diffusion`, `optimizer` and `train`."""
    module = factory.diffusion_network(config.model, config.conditioning, data.schema)
    process = config.diffusion
    how = part(DiffusionLoss, config.train, batch_size=config.data.batch_size)
    return Task(
        kind="diffusion",
        init=make_init(module, data.shape, len(data.schema.names), how),
        make_loss=lambda axis_name: make_loss(module, process, how),
        measure=make_measure(module, process),
        preview=make_preview(module, process, config.sample, data.validation) if data.validation else None,
        **optimizer.recipe(config.optimizer, config.train.num_steps),
    )


def settings(config: DiffusionConfig) -> TrainSettings:
    """Those of section `train`."""
    return config.train


def loading(config: DiffusionConfig, schema: Schema) -> Loading:
    """As section `data` says."""
    return Loading(
        config.data.batch_size, config.data.mirror, config.data.class_balance, None, config.train.validation_samples
    )
