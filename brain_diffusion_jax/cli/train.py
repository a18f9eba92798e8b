"""Train a diffusion model from a config, or go on with a run that was stopped.

  brain-diffusion train configs/base.py data.shards=shards/phantom train.num_steps=2000 --run runs/first

Options of the config are given as section.key=value. A run folder that holds a checkpoint is continued.
Ctrl-C and SIGTERM save first; exit status 130 or 75 (start the same command again to go on).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a configs/*.py file, or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the config")
    parser.add_argument("--run", type=Path, help="run folder (default: runs/NAME of the config)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    from brain_diffusion_jax.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    folder = arguments.run or Path("runs") / config.name
    outcome = train(config, folder, show_progress=not arguments.quiet)
    print(f"{outcome.run}: step {outcome.step}{', ' + outcome.reason if outcome.reason else ''}")
    return outcome.exit_code


def train(config: Any, folder: Path, *, show_progress: bool = True) -> Any:
    """Train the diffusion model of a whole config on its shards; returns training.fit.Outcome."""
    from brain_diffusion_jax.config import to_json
    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.diffusion.process import Process
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.training import compile_cache, diffusion_step, fit, optimizer, settings

    compile_cache.enable()
    if not config.data.shards:
        raise InputError("config", "data.shards", "nothing", "a folder written by `brain-diffusion prepare`")
    contract = Contract.load(config.data.shards)
    schema = contract.schema
    module = factory.diffusion_network(config.model, config.conditioning, schema)
    process = Process(**config.diffusion)
    train_settings = settings.TrainSettings(**config.train)
    loss = diffusion_step.DiffusionLoss(
        batch_size=config.data.batch_size,
        drop_probability=train_settings.drop_probability,
        drop_each=train_settings.drop_each,
        loss=train_settings.loss,
        loss_weight=train_settings.loss_weight,
    )
    task = fit.Task(
        kind="diffusion",
        init=diffusion_step.make_init(module, (*contract.image_size, 1), len(schema.names), loss),
        make_loss=lambda axis_name: diffusion_step.make_loss(module, process, loss),
        measure=diffusion_step.make_measure(module, process),
    )
    validation = validation_arrays(config, train_settings.validation_samples)
    return fit.fit(
        task,
        folder,
        make_loader(config),
        validation,
        train_settings,
        optimizer.OptimizerSettings(**config.optimizer),
        batch_size=config.data.batch_size,
        config=to_json(config),
        contract=contract,
        seed=config.seed,
        draw_samples=sample_grid(module, process, config, validation) if validation else None,
        show_progress=show_progress,
    )


def make_loader(config: Any) -> Any:
    """The endless loader of this process's part of the training split; a batch beyond the data is refused."""
    import jax

    from brain_diffusion_jax.data.loader import Loader
    from brain_diffusion_jax.errors import InputError

    loader = Loader(
        config.data.shards,
        "train",
        batch_size=config.data.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        mirror=config.data.mirror,
        class_balance=config.data.class_balance,
    )
    if config.data.batch_size > len(loader):
        expected = f"at most the {len(loader)} pictures of the training split"
        raise InputError("config", "data.batch_size", config.data.batch_size, expected)
    return loader


def validation_arrays(config: Any, count: int) -> dict[str, Any] | None:
    """Up to `count` evenly spaced examples of the validation split, stacked; None if there is no such split."""
    import numpy as np

    from brain_diffusion_jax.data import shard_reader

    if "validation" not in shard_reader.load_manifest(config.data.shards)["splits"]:
        return None
    source = shard_reader.open_split(config.data.shards, "validation")
    if not len(source) or not count:
        return None
    return source.batch(np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)).tolist())


def sample_grid(module: Any, process: Any, config: Any, validation: dict[str, Any], columns: int = 8) -> Any:
    """params -> uint8 picture: above, real held-out pictures; below, samples for their conditions."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from brain_diffusion_jax.covariates import Condition
    from brain_diffusion_jax.data import picture_grid
    from brain_diffusion_jax.diffusion import levels, samplers, sweep
    from brain_diffusion_jax.training.diffusion_step import network_params, to_unit

    rows = np.linspace(0, len(validation["image"]) - 1, columns).astype(int)
    condition = Condition(validation["values"][rows], validation["present"][rows])
    real = np.asarray(to_unit(jnp.asarray(validation["image"][rows])))[..., 0]
    points = levels.select(process.table, min(20, config.sample.num_steps), config.sample.spacing)
    scales = jnp.asarray([1.0, config.sample.guidance_scale], jnp.float32)
    noise = jax.random.normal(jax.random.key(0), (len(rows), *validation["image"].shape[1:]))

    def network(params, x, t, condition):
        return module.apply({"params": params}, x, t, *condition, train=False)

    def draw(params: Any) -> np.ndarray:
        denoise = process.denoise_fn(jax.tree_util.Partial(network, network_params(params)))
        samples = sweep.sweep(denoise, samplers.get("ddim"), points, noise, condition, jax.random.key(1), scales)
        units = np.asarray(process.to_unit(samples))[..., 0].reshape(-1, *real.shape[1:])
        return picture_grid.tile(np.concatenate([real, units]), columns)

    return draw
