"""How an autoencoder is trained, and what a finished training adds to its run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.shards.reader import open_split
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.files import write_json
from brain_diffusion_jax.losses.adversarial import GENERATOR
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.patch_discriminator import PatchDiscriminator
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.autoencoder import collapse
from brain_diffusion_jax.tasks.autoencoder.config import AutoencoderRunConfig, LatentStatistics
from brain_diffusion_jax.tasks.autoencoder.loss import (
    Learning,
    channel_numbers,
    from_network,
    make_init,
    make_loss,
    make_measure,
    make_optimizer,
    to_network,
)
from brain_diffusion_jax.tasks.autoencoder.model import AutoencoderModel
from brain_diffusion_jax.tasks.autoencoder.perceptual_network import PerceptualNetwork, open_network
from brain_diffusion_jax.tasks.opening import open_run
from brain_diffusion_jax.tasks.spec import DataInfo, Loading
from brain_diffusion_jax.training.run_folder import checkpoints
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.task import Task


def resolve(config: AutoencoderRunConfig, data: DataInfo) -> AutoencoderRunConfig:
    """With the version of the perceptual network's weights, "" where no term has one; refuses weights of another."""
    network = _perceptual(config, data)
    version, wanted = network.version if network else "", config.loss.perceptual_version
    if wanted and version != wanted:
        raise InputError("config", "loss.perceptual_version", wanted, f'{version}, the weights that are there, or ""')
    return replace(config, loss=replace(config.loss, perceptual_version=version))


def _perceptual(config: AutoencoderRunConfig, data: DataInfo) -> PerceptualNetwork | None:
    return open_network(config.loss, len(data.image_size), data.channels) if config.loss.perceptual else None


def build(config: AutoencoderRunConfig, data: DataInfo) -> Task:
    """The task of config sections `autoencoder`, `discriminator`, `loss`, `crops` and `augmentation`."""
    dims = len(data.image_size)
    module = Autoencoder(config.autoencoder, dims, data.channels)
    critic = PatchDiscriminator(config.discriminator) if config.loss.adversarial else None
    compared = _perceptual(config, data)
    how = Learning(
        config.loss,
        config.crops,
        config.augmentation,
        config.train.num_steps,
        _mirror_axis(config, data),
        compared,
    )
    return Task(
        kind="autoencoder",
        init=make_init(module, critic, data.shape),
        make_loss=lambda axis_name: make_loss(module, critic, how),
        measure=make_measure(module),
        preview=_preview(module, data.validation) if data.validation else None,
        guard=collapse.make_guard(config.autoencoder.latent_channels, config.loss.collapse_from),
        **make_optimizer(config.optimizer, how),
    )


def settings(config: AutoencoderRunConfig) -> TrainSettings:
    """Those of section `train`."""
    return config.train


def loading(config: AutoencoderRunConfig, schema: Schema) -> Loading:
    """As section `data` says."""
    data = config.data
    return Loading(data.batch_size, data.mirror, data.class_balance, None, config.train.validation_samples)


def finish(run: Path, data: DataInfo) -> None:
    """Measure the latents of the whole training set with the weights that the run opens with, and keep that there.

    The numbers go into section `latent` of config.json; raises InputError where every channel is collapsed.
    """
    model = cast(AutoencoderModel, open_run(run))
    found = latent_statistics(model, data.shards)
    items = checkpoints.read_config(run)
    kept = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(found).items()}
    write_json(run / checkpoints.CONFIG, {**items, "latent": kept})
    collapse.require_channels(run, found.kl, found.spread)


def latent_statistics(model: AutoencoderModel, shards: str, batch_size: int = 8) -> LatentStatistics:
    """Of the training split of `shards`, read batch by batch."""
    source = open_split(shards, "train")
    rows, sums, count = np.arange(len(source)), np.zeros((3, model.latent_channels)), 0
    numbers: dict[str, list[np.ndarray]] = {"kl": [], "spread": []}
    for first in range(0, len(rows), batch_size):
        mean, log_variance = model.moments(to_unit(source.batch(rows[first : first + batch_size])["image"]))
        own = channel_numbers(jnp.asarray(mean), jnp.asarray(log_variance))
        for name, found in numbers.items():
            found.append(np.asarray(own[name]))
        axes = tuple(range(mean.ndim - 1))
        wide = mean.astype(np.float64)
        sums += [wide.sum(axes), (wide**2).sum(axes), np.exp(log_variance.astype(np.float64)).sum(axes)]
        count += int(np.prod(mean.shape[:-1]))
    centre, square, noise = sums / count
    deviation = np.sqrt(np.maximum(square - centre**2, 0) + noise)

    def rounded(values: np.ndarray) -> tuple[float, ...]:
        return tuple(float(f"{value:.7g}") for value in values)

    kl, spread = (rounded(np.concatenate(found).mean(0)) for found in numbers.values())
    return LatentStatistics(rounded(centre), rounded(deviation), kl, spread, model.version)


def _mirror_axis(config: AutoencoderRunConfig, data: DataInfo) -> int | None:
    """The left-right axis of the data; refuses flips where there is none."""
    if not config.augmentation.mirror:
        return None
    axis = Contract.load(data.shards).left_right_axis if data.shards else 0
    if axis is None:
        raise InputError("config", "augmentation.mirror", config.augmentation.mirror, "0: these have no left and right")
    return axis


def _preview(
    module: Autoencoder, validation: dict[str, np.ndarray], columns: int = 8
) -> Callable[[Params], np.ndarray]:
    """params -> uint8 image: above, held-out images; below, their reconstructions."""
    rows = np.unique(np.linspace(0, len(validation["image"]) - 1, columns).astype(int))
    real = jnp.asarray(to_unit(validation["image"][rows]))

    @jax.jit
    def reconstruct(params: Params) -> jax.Array:
        variables = {"params": params[GENERATOR]}
        mean, _ = module.apply(variables, to_network(real, module.config), method="encode")  # type: ignore
        made: Any = module.apply(variables, mean, real.shape[1:-1], method="decode")
        return from_network(made, module.config)  # type: ignore[arg-type]

    return lambda params: picture_grid.tile(
        np.concatenate([np.asarray(real), np.clip(np.asarray(reconstruct(params)), 0, 1)]), len(rows)
    )
