"""How the classifier is trained."""

from __future__ import annotations

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.tasks.classifier.config import ClassConfig
from brain_diffusion_jax.tasks.classifier.loss import find_target, make_loss, make_measure
from brain_diffusion_jax.tasks.labels import make_init
from brain_diffusion_jax.tasks.predictor import loop_settings, recipe
from brain_diffusion_jax.tasks.spec import DataInfo, Loading
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.task import Task


def build(config: ClassConfig, data: DataInfo) -> Task:
    """The task of config section `class_model`."""
    section = config.class_model
    target = find_target(data.schema, section.target)
    plain = factory.class_network(section, len(target.words))
    return Task(
        kind="class",
        init=make_init(plain, data.shape),
        make_loss=lambda axis_name: make_loss(
            factory.class_network(section, len(target.words), axis_name),
            target,
            label_smoothing=section.label_smoothing,
            augmentation=section.augmentation,
        ),
        measure=make_measure(plain, target),
        known=target.known,
        **recipe(section),
    )


def settings(config: ClassConfig) -> TrainSettings:
    """Those of section `train`, with what section `class_model` says."""
    return loop_settings(config.train, config.class_model)


def loading(config: ClassConfig, schema: Schema) -> Loading:
    """Every class equally often; validation on images whose class is known."""
    column = find_target(schema, config.class_model.target).column
    return Loading(config.class_model.batch_size, class_balance=schema.names[column], labelled=column)
