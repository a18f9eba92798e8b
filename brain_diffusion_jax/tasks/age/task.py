"""How the regressor of ages is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork
from brain_diffusion_jax.tasks.age.config import AgeConfig, AgeModel
from brain_diffusion_jax.tasks.age.loss import (
    Target,
    age_weights,
    find_target,
    make_loss,
    make_measure,
)
from brain_diffusion_jax.tasks.labels import make_init
from brain_diffusion_jax.tasks.predictor import loop_settings, recipe
from brain_diffusion_jax.tasks.spec import DataInfo, Loading
from brain_diffusion_jax.training.run_folder import checkpoints
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.task import Task

# What fine-tuning takes from the run it starts from.
_NETWORK = (
    *("backbone", "width", "dense", "pooling", "norm_eps", "backbone_options", "bins", "bin_low", "bin_high"),
    *("target_mean", "target_scale"),
)


def resolve(config: AgeConfig, data: DataInfo) -> AgeConfig:
    """With the network of age_model.pretrained, or the mean and spread of the training ages."""
    section = config.age_model
    if section.pretrained:
        changes = _pretrained_network(section.pretrained)
    else:
        ages = _training_ages(data.shards, find_target(data.schema, section.target))
        changes = {"target_mean": round(float(ages.mean()), 4), "target_scale": round(max(float(ages.std()), 1.0), 4)}
    return replace(config, age_model=replace(section, **changes))


def build(config: AgeConfig, data: DataInfo) -> Task:
    """The task of config section `age_model`."""
    section = config.age_model
    _require_consistent(section)
    target = find_target(data.schema, section.target)
    ages = _training_ages(data.shards, target)
    weights = age_weights(ages, section.balance, target.low, target.high) if section.balance else None

    def network(axis_name: str | None) -> AgeNetwork:
        return factory.age_network(section, axis_name)

    plain = network(None)
    start = _pretrained_weights(section.pretrained) if section.pretrained else None
    return Task(
        kind="age",
        init=make_init(plain, data.shape) if start is None else lambda key: jax.tree.map(jnp.asarray, start),
        make_loss=lambda axis_name: make_loss(network(axis_name), target, section, weights),
        measure=make_measure(plain, target),
        known=target.known,
        **recipe(
            section,
            name=section.optimizer,
            schedule=section.schedule,
            clip_norm=section.clip_norm,
            plateau_factor=section.plateau_factor,
            plateau_patience=section.plateau_patience,
        ),
    )


def settings(config: AgeConfig) -> TrainSettings:
    """Those of section `train`, with what section `age_model` says."""
    return loop_settings(config.train, config.age_model, early_stopping=config.age_model.early_stopping)


def loading(config: AgeConfig, schema: Schema) -> Loading:
    """Validation is on images whose age is known."""
    return Loading(config.age_model.batch_size, labelled=find_target(schema, config.age_model.target).column)


def _training_ages(shards: str, target: Target) -> Float[np.ndarray, " n"]:
    """Ages, in years, of the training slices that have one."""
    path = Path(shards) / "conditions_train.npz"
    if not path.exists():
        raise InputError(path, "training split", "no such file", "shards with a training split")
    with np.load(path, allow_pickle=False) as items:
        known = items["present"][:, target.column]
        ages: np.ndarray = np.asarray(target.years(items["values"]))[known]
    if len(ages) < 2 or np.ptp(ages) == 0:
        raise InputError(shards, "age", f"{len(ages)} ages, {len(np.unique(ages))} distinct", "people of several ages")
    return ages


def _pretrained_network(run: str) -> dict[str, Any]:
    """The settings of the network of a run of kind "age"."""
    items = checkpoints.read_config(run)
    if items.get("kind") != "age":
        raise InputError(run, "kind", items.get("kind"), "age: a run of train-age or convert keras")
    kept = {k: items["age_model"][k] for k in _NETWORK if k in items["age_model"]}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}


def _pretrained_weights(run: str) -> dict[str, Any]:
    _, params, state = checkpoints.load_weights(run, "best")
    return {"params": params, **state}


def _require_consistent(section: AgeModel) -> None:
    if (section.loss == "distribution") != bool(section.bins):
        expected = "bins above 0 with loss=distribution and 0 with any other, such as age_model.bins=48"
        raise InputError("config", "age_model.bins", f"{section.bins} with loss {section.loss}", expected)
    if section.frozen and section.weight_decay:
        found = f"{section.weight_decay} with frozen layers {tuple(section.frozen)}"
        raise InputError("config", "age_model.weight_decay", found, "0: decay would move what is frozen")
