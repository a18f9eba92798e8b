"""How the WGAN-GP baseline is trained."""

from __future__ import annotations

import optax

from brain_diffusion_jax.config import part
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.models.gan import make_gan
from brain_diffusion_jax.tasks.gan.config import GanConfig
from brain_diffusion_jax.tasks.gan.loss import make_init, make_loss, make_measure, make_optimizer
from brain_diffusion_jax.tasks.spec import DataInfo, Loading
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.task import Task


def build(config: GanConfig, data: DataInfo) -> Task:
    """The task of config section `gan`."""
    how = config.gan
    gan = make_gan(data.image_size, data.schema.cardinalities, how)
    return Task(
        kind="gan",
        init=make_init(gan, len(data.schema.names)),
        make_loss=lambda axis_name: make_loss(gan, how),
        measure=make_measure(gan),
        optimizer=make_optimizer(how),
        learning_rate=optax.constant_schedule(how.learning_rate),
    )


def settings(config: GanConfig) -> TrainSettings:
    """Those of section `train`, with what section `gan` says."""
    return part(
        TrainSettings,
        config.train,
        num_steps=config.gan.num_steps,
        ema_decay=config.gan.ema_decay,
        early_stopping=0,
        sample_every=0,
        keep_best=0,  # the critic's numbers rank no checkpoint
    )


def loading(config: GanConfig, schema: Schema) -> Loading:
    """As section `data` says."""
    return Loading(
        config.gan.batch_size,
        class_balance=config.data.class_balance,
        validation_samples=config.train.validation_samples,
    )
