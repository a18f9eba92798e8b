"""Train a diffusion model from a config, or go on with a run that was stopped.

  brain-diffusion train configs/base.py data.shards=shards/phantom train.num_steps=2000 --run runs/first
  brain-diffusion train configs/oasis_axial.py --dry-run --mesh 8x4

Options of the config are given as section.key=value. A run folder that holds a checkpoint is continued;
what is then changed in its settings is noted in its history.jsonl, which `info` shows.
Ctrl-C and SIGTERM save first; exit status 130 or 75 (start the same command again to go on).
Several processes find each other through SLURM, JobSet or TPU metadata, or --coordinator; see scripts/.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli import training_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    training_data.add_arguments(parser)
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="write a trace of N steps to RUN/profile")
    parser.add_argument("--dry-run", action="store_true", help="print what a run would cost, and end")
    parser.add_argument("--mesh", default="", metavar="DATAxFSDP", help="with --dry-run: devices to plan for")
    parser.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    add_cluster_arguments(parser)


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """How several processes find each other."""
    group = parser.add_argument_group("several processes")
    group.add_argument("--cluster", default="auto", help="auto, off, slurm, k8s, tpu or explicit (default: auto)")
    group.add_argument("--coordinator", default="", metavar="HOST:PORT", help="address of process 0 (explicit)")
    group.add_argument("--processes", type=int, default=0, help="how many there are")
    group.add_argument("--process-id", type=int, default=-1, help="which of them this is")
    group.add_argument(
        "--heartbeat", type=int, default=60, metavar="S", help="a dead process ends the job in S seconds"
    )
    group.add_argument("--connect", type=int, default=300, metavar="S", help="wait S seconds for all to come together")


def connect(arguments: argparse.Namespace) -> None:
    """Join the other processes, if there are any."""
    from brain_diffusion_jax.training.devices import distributed

    method = "explicit" if arguments.coordinator else arguments.cluster
    distributed.initialize(
        distributed.Cluster(
            method,
            arguments.coordinator,
            arguments.processes,
            arguments.process_id,
            arguments.heartbeat,
            arguments.connect,
        )
    )


def run(arguments: argparse.Namespace) -> int:
    import json

    planned = ("covariates", "prepare.fit.size") if arguments.dry_run else ()
    config = training_data.load(arguments, "diffusion", *planned)
    if arguments.dry_run:
        found = dry_run(config, arguments.mesh)
        print(json.dumps(found.to_json(), indent=2) if arguments.json else found)
        return 0
    connect(arguments)
    folder = arguments.run or Path("runs") / config.name
    outcome = train(config, folder, show_progress=not arguments.quiet, profile_steps=arguments.profile)
    print(f"{outcome.run}: step {outcome.step}{', ' + outcome.reason if outcome.reason else ''}")
    return outcome.exit_code


def make_task(config: Any, schema: Any, image_size: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """(training.fit.Task, network, process) of a whole config for pictures of image_size."""
    from brain_diffusion_jax.diffusion.process import Process
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.training import diffusion_step, fit

    module = factory.diffusion_network(config.model, config.conditioning, schema)
    process = Process(**config.diffusion)
    loss = diffusion_step.DiffusionLoss(
        batch_size=config.data.batch_size,
        drop_probability=config.train.drop_probability,
        drop_each=config.train.drop_each,
        loss=config.train.loss,
        loss_weight=config.train.loss_weight,
    )
    task = fit.Task(
        kind="diffusion",
        init=diffusion_step.make_init(module, (*image_size, 1), len(schema.names), loss),
        make_loss=lambda axis_name: diffusion_step.make_loss(module, process, loss),
        measure=diffusion_step.make_measure(module, process),
    )
    return task, module, process


def train(config: Any, folder: Path, *, show_progress: bool = True, profile_steps: int = 0) -> Any:
    """Train the diffusion model of a whole config on its shards; returns training.fit.Outcome."""
    from brain_diffusion_jax.config import to_json
    from brain_diffusion_jax.training import fit, optimizer, settings

    training_data.prepare_host(config, "data")
    contract = training_data.shards_contract(config)
    train_settings = settings.TrainSettings(**config.train)
    task, module, process = make_task(config, contract.schema, contract.image_size)
    validation = training_data.validation_arrays(config, train_settings.validation_samples)
    return fit.fit(
        task,
        folder,
        training_data.make_loader(config, "data", mirror=config.data.mirror, class_balance=config.data.class_balance),
        validation,
        train_settings,
        optimizer.OptimizerSettings(**config.optimizer),
        batch_size=config.data.batch_size,
        config=to_json(config),
        contract=contract,
        seed=config.seed,
        draw_samples=sample_grid(module, process, config, validation) if validation else None,
        show_progress=show_progress,
        profile_steps=profile_steps,
    )


def parse_mesh(text: str, config: Any) -> tuple[int, int]:
    """(data, fsdp) of "8x4", or of the train section where text is empty."""
    from brain_diffusion_jax.errors import InputError

    if not text:
        return max(config.train.data_parallel, 1), config.train.fsdp
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) > 0 for p in parts):
        raise InputError("command line", "--mesh", text, "DATAxFSDP, such as 8x4")
    return int(parts[0]), int(parts[1])


def dry_run(config: Any, mesh_text: str = "") -> Any:
    """training.estimate.Estimate of a config; sizes from the shards, or from the config where there are none."""
    import jax

    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.training import optimizer, settings, state
    from brain_diffusion_jax.training.devices import estimate, mesh

    if config.data.shards:
        contract = Contract.load(config.data.shards)
        schema, image_size = contract.schema, contract.image_size
    else:
        schema, image_size = Schema.from_json(config.covariates), tuple(config.prepare.fit.size or (109, 91))
    train_settings = settings.TrainSettings(**config.train)
    data, fsdp = parse_mesh(mesh_text, config)
    batch = config.data.batch_size
    mesh.require_divisible(batch, data * fsdp, train_settings.accumulation, 1)
    task, _, _ = make_task(config, schema, image_size)
    tx = optimizer.make(optimizer.OptimizerSettings(**config.optimizer), train_settings.num_steps)
    example = {
        "image": jax.ShapeDtypeStruct((batch, *image_size, 1), "uint8"),
        "values": jax.ShapeDtypeStruct((batch, len(schema.names)), "float32"),
        "present": jax.ShapeDtypeStruct((batch, len(schema.names)), "bool"),
        "index": jax.ShapeDtypeStruct((batch,), "int32"),
    }
    return estimate.estimate(
        lambda key: state.create(task.init(key), tx, train_settings.power_ema),
        task.make_loss(None),
        example,
        data=data,
        fsdp=fsdp,
        accumulation=train_settings.accumulation,
    )


def sample_grid(module: Any, process: Any, config: Any, validation: dict[str, Any], columns: int = 8) -> Any:
    """params -> uint8 picture: above, real held-out pictures; below, samples for their conditions."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from brain_diffusion_jax.covariates import Condition
    from brain_diffusion_jax.data import picture_grid
    from brain_diffusion_jax.diffusion import levels, samplers, sweep
    from brain_diffusion_jax.pixels import to_unit
    from brain_diffusion_jax.training.diffusion_step import network_params

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
