"""Train a model from a config, or go on with a run that was stopped.

  brain-diffusion train configs/base.py data.shards=shards/phantom train.num_steps=2000 --run runs/first
  brain-diffusion train configs/oasis/diffusion.py --dry-run --mesh 8x4
  brain-diffusion train-age configs/oasis/age_cpu.py data.shards=shards/oasis_age --run runs/age
  brain-diffusion train-class configs/tumor/classifier.py data.shards=shards/tumor --run runs/tumor-class
  brain-diffusion train-gan configs/tumor/gan.py data.shards=shards/tumor --run runs/tumor-gan

`train` trains the kind of model that the config names, a diffusion model where it names none; train-age (section
age_model), train-class (class_model) and train-gan (gan, a step is one update of the critic) say the kind themselves.
Options of the config are given as section.key=value. A run folder that holds a checkpoint is continued;
what is then changed in its settings is noted in its history.jsonl, which `info` shows.
When a regressor or a classifier ends, a report on people of the validation and test splits is written into the
run (age_report.json, class_report.json), from the checkpoint with the lowest validation loss.
Ctrl-C and SIGTERM save first; exit status 130 or 75 (start the same command again to go on).
Several processes find each other through SLURM, JobSet or TPU metadata, or --coordinator; see scripts/.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

# Kinds by the command that trains them; `train` asks the config.
COMMANDS = {"train": None, "train-age": "age", "train-class": "class", "train-gan": "gan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(kind=COMMANDS[parser.prog.split()[-1]])
    parser.add_argument("config", help="a configs/*.py file, or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the config")
    parser.add_argument("--run", type=Path, help="run folder (default: runs/NAME of the config, with -age, ...)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="write a trace of N steps to RUN/profile")
    parser.add_argument("--dry-run", action="store_true", help="print what a run would cost, and end")
    parser.add_argument("--mesh", default="", metavar="DATAxFSDP", help="with --dry-run: devices to plan for")
    parser.add_argument("--json", action="store_true", help="print the report, or the plan, as JSON and nothing else")
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


def load(arguments: argparse.Namespace, kind: str | None) -> Any:
    """The config of the command, of its kind or of the one that the file names; refuses what no run of it reads.

    A run is used from other folders too, so that its config names the shards by their whole path.
    """
    from brain_diffusion_jax.config import load_config
    from brain_diffusion_jax.config.defaults import reads_of

    config = load_config(arguments.config, () if arguments.dry_run else arguments.overrides, kind=kind or "")
    if arguments.dry_run:  # sizes of the data are the config's where there are no shards
        reads = (*reads_of(config.kind), "covariates", "prepare.fit.size")
        planned = load_config(arguments.config, arguments.overrides, reads=reads)
        with planned.unlocked():
            planned.kind = config.kind
        config = planned
    if config.data.shards:
        config.data.shards = str(Path(config.data.shards).absolute())
    return config


def run(arguments: argparse.Namespace) -> int:
    import json

    import jax

    from brain_diffusion_jax.tasks import train as training
    from brain_diffusion_jax.tasks.spec import spec

    config = load(arguments, arguments.kind)
    declared = spec(config.kind)
    if arguments.dry_run:
        cost = training.plan(config, arguments.mesh)
        print(json.dumps(cost.to_json(), indent=2) if arguments.json else cost)
        return 0
    connect(arguments)
    quiet = arguments.quiet or (declared.reports and arguments.json)
    outcome = training.train(config, arguments.run, show_progress=not quiet, profile_steps=arguments.profile)
    if outcome.exit_code or not declared.reports:
        print(f"{outcome.run}: step {outcome.step}{', ' + outcome.reason if outcome.reason else ''}")
        return outcome.exit_code
    if jax.process_index():  # the first process writes
        return 0
    report = declared.report.write(outcome.run, config.data.shards)
    print(json.dumps(report, indent=2) if arguments.json else declared.report.summary(report, outcome.run))
    return 0
