"""How a GAN is trained."""

from __future__ import annotations

from dataclasses import replace

import optax

from brain_diffusion_jax.config import part
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.tasks.gan.config import GanConfig
from brain_diffusion_jax.tasks.gan.loss import make_init, make_optimizer
from brain_diffusion_jax.tasks.spec import DataInfo, Loading
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.task import Task


def resolve(config: GanConfig, data: DataInfo) -> GanConfig:
    """With the defaults of its objective, so that a run stays what it is where these change."""
    return replace(config, gan=config.gan.whole())


def build(config: GanConfig, data: DataInfo) -> Task:
    """The task of config section `gan`."""
    how = config.gan.chosen
    game = how.game(data.shape, data.schema.cardinalities)
    return Task(
        kind="gan",
        init=make_init(game.module, len(data.schema.names)),
        make_loss=lambda axis_name: game.loss,
        measure=game.measure,
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
