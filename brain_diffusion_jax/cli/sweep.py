"""One compiled call over guidance scales, options and seeds; samplers, steps and spacings around it.

  brain-diffusion sweep runs/NAME --set age=20,50,80 slice=45 --scales 1,3,5 --out sweep/
  brain-diffusion sweep runs/NAME --set age=20,80 --samplers ddim,heun --steps 10,20 --axis eta=0,1 --out sweep/
  brain-diffusion sweep runs/NAME --people test --age-model runs/AGE --samplers all --calls 10,20 --scales 1 \
      --reference ddpm:1000 --out table/

All sampling configurations share their noise, so that they can be compared. Finished ones are not computed again
(--resume). Several devices share the images of a batch.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_diffusion_jax.cli.options import ConditionOptions, OutputOptions, decode_within, parse_set
from brain_diffusion_jax.cli.parsing import argument, listed, option, seed
from brain_diffusion_jax.errors import InputError

if TYPE_CHECKING:
    from brain_diffusion_jax.api import DiffusionModel
    from brain_diffusion_jax.evaluation.image_set import ImageSet


def _scale(word: str) -> float | tuple[float, ...]:
    parts = tuple(float(part) for part in word.split(":"))
    return parts if len(parts) > 1 else parts[0]


def _interval(word: str) -> tuple[float, float]:
    low, high = (float(part) for part in word.split(":"))
    return low, high


def _axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """(option, its values) of option=value,value; the values of interval are pairs low:high."""
    name, separator, values = text.partition("=")
    if not separator or not values:
        raise argparse.ArgumentTypeError(f"found {text!r:.80}; expected option=value,value")
    if name == "interval":
        return name, listed(_interval, "low:high,low:high")(values)
    return name, listed(float, "numbers separated by commas")(values)


def _reference(text: str) -> tuple[str, int]:
    sampler, _, steps = text.partition(":")
    if not steps.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r:.80}; expected SAMPLER:STEPS, e.g. ddpm:1000")
    return sampler, int(steps)


class Options(ConditionOptions, OutputOptions):
    """Axes of the sweep, what its rules need, and what its images are compared with."""

    run: str = argument("run folder of a diffusion model")
    scales: tuple[float | tuple[float, ...], ...] = option(
        "default 1,3,5,7; 1 is off; 3:1:1 is one a covariate, of per_covariate",
        (1.0, 3.0, 5.0, 7.0),
        type=listed(_scale, "numbers separated by commas, 3:1:1 for one scale a covariate"),
    )
    seeds: tuple[int, ...] = option("seeds (default 0)", (0,), type=listed(seed, "seeds separated by commas"))
    samplers: tuple[str, ...] | None = option('several with commas, or "all" (default: the config\'s)')
    steps: tuple[int, ...] | None = option("several with commas (default: the config's)")
    calls: tuple[int, ...] = option("as many steps as fit in so many network calls", ())
    spacings: tuple[str, ...] | None = option('"optimised" is found for this model (default: the config\'s)')
    guidance_rules: tuple[str, ...] = option("default cfg", ("cfg",))
    weak: str | None = option(
        "of autoguidance: a weaker run, or an average of the weights as in --ema-lengths",
        metavar="MODEL",
    )
    judge: str | None = option("of classifier_gradient: the run folder of an age regressor", metavar="RUN")
    judge_std: float = option("how exactly its ages are believed (default 5)", 5.0, metavar="YEARS")
    ema_lengths: tuple[str, ...] | None = option(
        "averages of the weights: widths such as 0.05 (train.power_ema), stored, none",
        metavar="L1,L2",
    )
    axis: tuple[tuple[str, tuple[Any, ...]], ...] = option(
        "sampler or rule option, e.g. eta=0,1; rescale=0,0.7; interval=0:1,0.2:5 (low:high of sigma/alpha)",
        (),
        action="append",
        metavar="OPTION=V1,V2",
        type=_axis,
    )
    age_model: str | None = option("run folder of a regressor: adds its age errors to the table")
    people: str | None = option(
        "with the conditions of these people's images, to compare with them, e.g. test; needs --age-model",
        metavar="SPLIT",
    )
    only: tuple[str, ...] = option("of them, e.g. slice=36,46,56", (), nargs="+", metavar="NAME=V1,V2")
    data: str | None = option("shards of the people (default: those of the run)")
    bootstrap: int = option("resamples for the intervals (default 200; 0: none)", 200)
    reference: tuple[str, int] | None = option(
        "with --people, compare the others with it, e.g. ddpm:1000; the column meets: within its intervals",
        metavar="SAMPLER:STEPS",
        type=_reference,
    )
    plugin: Path | None = option("a Python file that registers samplers, spacings or guidance rules")
    memory_gib: float | None = option("refuse what needs more, and say what would fit; latents decode in slabs")

    def default_out(self) -> Path:
        """Where images and table go without --out."""
        return Path(self.run) / "sweep"

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The axes that were given, for `sweeps.configs_of`."""
        from brain_diffusion_jax.api.sweeps import EMA
        from brain_diffusion_jax.diffusion import samplers

        if self.steps is not None and self.calls:
            raise InputError("command line", "--calls", "beside --steps", "one of them")
        given: dict[str, tuple[Any, ...] | None] = {
            "guidance": self.guidance_rules,
            "guidance_scale": self.scales,
            "seed": self.seeds,
            "sampler": tuple(samplers.names()) if self.samplers == ("all",) else self.samplers,
            "num_steps": self.steps,
            "spacing": self.spacings,
            "model": self.ema_lengths and tuple(f"{EMA}{length}" for length in self.ema_lengths),
        }
        names = [name for name, _ in self.axis]
        if twice := [name for name in names if name in given or names.count(name) > 1]:
            expected = "an option of the sampler or guidance rule, once"
            raise InputError("command line", "--axis", twice[0], expected)
        return {name: values for name, values in {**given, **dict(self.axis)}.items() if values is not None}


def next_step(options: Options) -> str:
    """The same with real people's numbers."""
    return f"brain-diffusion study {options.run}" + (f" --age-model {options.age_model}" if options.age_model else "")


def run(options: Options) -> int:
    """Write the images of every sampling configuration, and print the table."""
    import json

    from brain_diffusion_jax.api import sweep_tables, sweeps
    from brain_diffusion_jax.api.guides import Guides
    from brain_diffusion_jax.api.predictors import Predictors
    from brain_diffusion_jax.cli.progress import stages

    if options.plugin:
        sweeps.run_plugin(options.plugin)
    model = options.load(options.run, "diffusion")
    if model.kind == "latent_diffusion":
        decode_within(model, options.memory_gib)
    real = _people(options, model)
    wanted = options.read(model.schema) if real is None else list(real.conditions)
    if "optimised" in (options.spacings or ()):
        sweeps.register_optimised(model, wanted)
    configs = sweeps.configs_of(model, options.axes(), options.calls)
    with stages("image") as progress:
        found = sweeps.sweep(
            model,
            wanted,
            configs,
            options.out,
            guides=Guides.load(model, options.weak, options.judge, options.judge_std, options.checkpoint),
            compared=sweep_tables.Compared(
                Predictors.load(model.contract if real is not None else None, age=options.age_model),
                real,
                options.reference and sweep_tables.reference_of(*options.reference, configs),
                options.bootstrap,
            ),
            settings=sweeps.SweepSettings(
                ema=not options.no_ema,
                checkpoint=options.checkpoint,
                resume=options.resume,
                batch_size=options.batch,
                memory_limit=None if options.memory_gib is None else int(options.memory_gib * 2**30),
            ),
            progress=progress,
        )
    count = len(found.folders)
    if options.json:  # the keys are those of release 0.1
        tables = {"cells": found.table[:count], "real": found.table[count:]}
        print(json.dumps({"out": options.out, **tables, "grid": str(found.grid)}))
    else:
        print(sweep_tables.text(found.table))
        print(f"{count} sampling configurations of {len(wanted)} images in {options.out} (sweep.csv, grid.png)")
    return 0


def _people(options: Options, model: DiffusionModel) -> ImageSet | None:
    """The real images of --people."""
    from brain_diffusion_jax.api import sweep_tables

    if not options.people:
        for name in ("only", "reference"):
            if getattr(options, name):
                raise InputError("command line", f"--{name}", "without --people", "--people SPLIT")
        return None
    if options.set or options.conditions or options.each != 1:
        raise InputError("command line", "--people", "beside --set, --conditions or --each", "one of them")
    if not options.age_model:
        raise InputError("command line", "--people", "no --age-model", "a regressor that reads the images")
    only = parse_set(options.only) if options.only else []
    return sweep_tables.people(model, options.data, options.people, only)
