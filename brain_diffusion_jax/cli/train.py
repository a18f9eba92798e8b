"""Train a model from a config, or go on with a run that was stopped.

  brain-diffusion train configs/base.py data.shards=shards/phantom train.num_steps=2000 --run runs/first
  brain-diffusion train configs/oasis/diffusion.py data.batch_size=2048 --dry-run --topology v5e:16x16

`train` trains the kind of model that the config names, a diffusion model where it names none; train-age (section
age_model), train-class (class_model) and train-gan (gan, a step is one update of the critic) say the kind themselves.
Options of the config are given as section.key=value. A run folder that holds a checkpoint is continued;
what is then changed in its settings is noted in its history.jsonl, which `info` shows.
When a regressor or a classifier ends, a report on people of the validation and test splits is written into the
run (age_report.json, class_report.json), from the checkpoint with the lowest validation loss.
Ctrl-C and SIGTERM save first; exit status 130 or 75 (start the same command again to go on).
--dry-run estimates from shapes, in seconds. With --topology (extra tpu) it compiles the whole step for a TPU pod that
need not be there, with --compile for the devices at hand: memory against what a chip has, operations, collectives
and their bytes; minutes for a large network. --fit looks for the largest batch a chip that fits.
Several processes find each other through SLURM, JobSet or TPU metadata, or --coordinator; see scripts/.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option


class Options(OptionGroup):
    """What is trained, where, and how several processes find each other. kind: None is the config's."""

    kind: ClassVar[str | None] = None

    config: Path = argument("a configs/*.py file, or a run folder")
    overrides: tuple[str, ...] = argument("changes to the config", nargs="*", metavar="section.key=value")
    run: Path | None = option("run folder (default: runs/NAME of the config, with -age, ...)")
    quiet: bool = option("no progress bar", False)
    profile: int = option("write a trace of N steps to RUN/profile", 0, metavar="N")
    dry_run: bool = option("print what a run would cost, and end", False)
    mesh: str = option("with --dry-run: devices to plan for", "", metavar="DATAxFSDP")
    topology: str = option("with --dry-run: compile for this TPU pod (extra tpu)", "", metavar="v5e:16x16")
    compile: bool = option("with --dry-run: compile for the devices at hand", False)
    fit: bool = option("with --topology or --compile: the largest batch a chip that fits", False)
    json: bool = option("print the report, or the plan, as JSON and nothing else", False)
    cluster: str = option("auto, off, slurm, k8s, tpu or explicit (default: auto)", "auto")
    coordinator: str = option("address of process 0 (explicit)", "", metavar="HOST:PORT")
    processes: int = option("how many there are", 0)
    process_id: int = option("which of them this is", -1)
    heartbeat: int = option("a dead process ends the job in S seconds (default 60)", 60, metavar="S")
    connect: int = option("wait S seconds for all processes to come together (default 300)", 300, metavar="S")


def next_step(options: Options) -> str:
    """What the run folder holds now."""
    from brain_diffusion_jax.tasks.train import default_run, open_config

    if options.dry_run:
        return ""
    run = options.run or default_run(open_config(options.config, options.overrides, options.kind))
    return f"brain-diffusion info {run}"


class AgeOptions(Options):
    """Train the regressor that reads age off images, or go on with a run that was stopped.

      brain-diffusion train-age configs/oasis/age_cpu.py data.shards=shards/oasis_age
      brain-diffusion train-age configs/oasis/age_cpu.py data.shards=shards/oasis_age --run runs/age

    Its settings are the config's section age_model. At the end a report on people of the validation and test splits is
    written into the run (age_report.json). See `brain-diffusion train --help`.
    """

    kind = "age"


class ClassOptions(Options):
    """Train the classifier that reads the class off images, or go on with a run that was stopped.

      brain-diffusion train-class configs/tumor/classifier.py data.shards=shards/tumor
      brain-diffusion train-class configs/tumor/classifier.py data.shards=shards/tumor --run runs/tumor-class

    Its settings are the config's section class_model. At the end a report on people of the validation and test splits
    is written into the run (class_report.json). See `brain-diffusion train --help`.
    """

    kind = "class"


class GanOptions(Options):
    """Train the WGAN-GP baseline, or go on with a run that was stopped.

      brain-diffusion train-gan configs/tumor/gan.py data.shards=shards/tumor
      brain-diffusion train-gan configs/tumor/gan.py data.shards=shards/tumor --run runs/tumor-gan

    Its settings are the config's section gan; a step is one update of the critic. See `brain-diffusion train --help`.
    """

    kind = "gan"


def _check(options: Options) -> None:
    """Raise InputError for options of a plan that stand alone."""
    from brain_diffusion_jax.errors import require

    alone = [name for name in ("mesh", "topology", "compile", "fit") if getattr(options, name) and not options.dry_run]
    require(not alone, f"--{alone[0] if alone else ''}", "no --dry-run", "--dry-run beside it", "command line")
    both = options.topology and options.compile
    require(not both, "--compile", f"--topology {options.topology}, too", "one of the two", "command line")
    ready = not options.fit or options.topology or options.compile
    require(ready, "--fit", "an estimate", "--topology or --compile beside it", "command line")


def run(options: Options) -> int:
    """Train and print how it ended; the exit status of an interrupted training is 130 or 75."""
    import json

    import jax

    from brain_diffusion_jax.tasks import plan
    from brain_diffusion_jax.tasks import train as training
    from brain_diffusion_jax.tasks.spec import spec
    from brain_diffusion_jax.training.devices import distributed

    _check(options)
    config = training.open_config(options.config, options.overrides, options.kind, planning=options.dry_run)
    declared = spec(config.kind)
    if options.dry_run:
        cost = (
            plan.compile_plan(config, topology=options.topology, mesh_text=options.mesh, largest_batch=options.fit)
            if options.topology or options.compile
            else plan.plan(config, options.mesh)
        )
        print(json.dumps(cost.to_json(), indent=2) if options.json else cost)
        return 0
    method = "explicit" if options.coordinator else options.cluster
    processes = (options.coordinator, options.processes, options.process_id, options.heartbeat, options.connect)
    distributed.initialize(distributed.Cluster(method, *processes))
    quiet = options.quiet or (declared.reports and options.json)
    outcome = training.train(config, options.run, show_progress=not quiet, profile_steps=options.profile)
    if outcome.exit_code or not declared.reports:
        print(f"{outcome.run}: step {outcome.step}{', ' + outcome.reason if outcome.reason else ''}")
        return outcome.exit_code
    if jax.process_index():  # the first process writes
        return 0
    report = declared.report.write(outcome.run, config.data.shards)
    print(json.dumps(report, indent=2) if options.json else declared.report.summary(report, outcome.run))
    return 0
