"""One compiled call over guidance scales, options and seeds; samplers, steps and spacings around it.

brain-diffusion sweep runs/NAME --set age=20,50,80 slice=45 --scales 1,3,5 --out sweep/
brain-diffusion sweep runs/NAME --set age=20,80 --samplers ddim,heun --steps 10,20 --axis eta=0,1 --out sweep/
brain-diffusion sweep runs/NAME --people test --age-model runs/AGE --samplers all --calls 10,20 --scales 1 \
    --reference ddpm:1000 --out table/

All cells share their noise, so that they can be compared. Finished cells are not computed again (--resume).
Several devices share the pictures of a batch.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli.options import ConditionOptions, OutputOptions, open_model, parse_set
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.seeds import check_seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder of a diffusion model")
    ConditionOptions.add(parser)
    OutputOptions.add(parser)
    parser.add_argument(
        "--scales",
        default="1,3,5,7",
        help="guidance scales (default 1,3,5,7; 1 is off); 3:1:1 is one a covariate, of per_covariate",
    )
    parser.add_argument("--seeds", default="0", help="seeds (default 0)")
    parser.add_argument("--samplers", help='several with commas, or "all" (default: the config\'s)')
    parser.add_argument("--steps", help="sampling steps, several with commas (default: the config's)")
    parser.add_argument("--calls", help="instead of --steps: as many steps as fit in so many network calls")
    parser.add_argument("--spacings", help='"optimised" is found for this model (default: the config\'s)')
    parser.add_argument("--guidance-rules", default="cfg", help="default cfg")
    parser.add_argument(
        "--weak",
        metavar="MODEL",
        help="of autoguidance: the weaker model, a run folder or an average of this run's weights as in --ema-lengths",
    )
    parser.add_argument("--judge", metavar="RUN", help="of classifier_gradient: the run folder of an age regressor")
    parser.add_argument(
        "--judge-std", type=float, default=5.0, metavar="YEARS", help="how exactly the judge is believed (default 5)"
    )
    parser.add_argument(
        "--ema-lengths",
        metavar="L1,L2",
        help="averages of the weights: relative widths such as 0.05 (from snapshots, train.power_ema), stored, none",
    )
    parser.add_argument(
        "--axis",
        action="append",
        default=[],
        metavar="OPTION=V1,V2",
        help="sampler or rule option, e.g. eta=0,1; rescale=0,0.7; interval=0:1,0.2:5 (low:high of sigma/alpha)",
    )
    parser.add_argument("--age-model", help="run folder of a regressor: adds its age errors to the table")
    parser.add_argument(
        "--people",
        metavar="SPLIT",
        help="ask for the conditions of these held-out people's pictures, and compare with the pictures (e.g. test); "
        "needs --age-model, whose features give the Frechet distance",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME=V1,V2", help="of them, e.g. slice=36,46,56")
    parser.add_argument("--data", help="shards of the people (default: those of the run)")
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples for the intervals (0: none)")
    parser.add_argument(
        "--reference",
        metavar="SAMPLER:STEPS",
        help="with --people, a cell to compare the others with, e.g. ddpm:1000; the column meets says which are "
        "within its intervals",
    )
    parser.add_argument("--plugin", help="a Python file that registers samplers, spacings or guidance rules")
    parser.add_argument("--memory-gib", type=float, help="refuse what needs more, and say what would fit")


def _words(text: str) -> list[str]:
    return [w for w in text.split(",") if w]


def _numbers(text: str, option: str, kind: type = float) -> list[Any]:
    try:
        return [kind(w) for w in _words(text)]
    except ValueError:
        expected = "numbers separated by commas" if kind is float else "whole numbers separated by commas"
        raise InputError("command line", option, repr(text), expected) from None


def scales_from(text: str) -> list[float | tuple[float, ...]]:
    """Scales separated by commas; 3:1:1 is one for each covariate."""
    found: list[float | tuple[float, ...]] = []
    try:
        for word in _words(text):
            parts = tuple(float(part) for part in word.split(":"))
            found.append(parts if len(parts) > 1 else parts[0])
    except ValueError:
        expected = "numbers separated by commas, 3:1:1 for one scale a covariate"
        raise InputError("command line", "--scales", repr(text), expected) from None
    return found


def axes_from(arguments: argparse.Namespace) -> dict[str, list[Any]]:
    """The axes that were given, for `sweeps.configs_of`."""
    from brain_diffusion_jax.api.sweeps import EMA
    from brain_diffusion_jax.diffusion import samplers

    if arguments.steps and arguments.calls:
        raise InputError("command line", "--calls", "beside --steps", "one of them")
    axes: dict[str, list[Any]] = {
        "guidance": _words(arguments.guidance_rules),
        "guidance_scale": scales_from(arguments.scales),
        "seed": [check_seed(seed, "command line", "--seeds") for seed in _numbers(arguments.seeds, "--seeds", int)],
    }
    if arguments.samplers:
        axes["sampler"] = list(samplers.names()) if arguments.samplers == "all" else _words(arguments.samplers)
    if arguments.steps:
        axes["num_steps"] = _numbers(arguments.steps, "--steps", int)
    if arguments.spacings:
        axes["spacing"] = _words(arguments.spacings)
    if arguments.ema_lengths:
        axes["model"] = [f"{EMA}{word}" for word in _words(arguments.ema_lengths)]
    for item in arguments.axis:
        name, separator, text = item.partition("=")
        if not separator or not text or name in axes or name in ("sampler", "num_steps", "spacing"):
            raise InputError("command line", "--axis", item, "option=value,value of the sampler or guidance rule, once")
        if name == "interval":
            pairs = [pair.partition(":")[::2] for pair in _words(text)]
            axes[name] = [tuple(_numbers(",".join(pair), "--axis interval")) for pair in pairs]
            if any(len(pair) != 2 for pair in axes[name]):
                raise InputError("command line", "--axis interval", text, "low:high,low:high")
        else:
            axes[name] = _numbers(text, f"--axis {name}")
    return axes


def run_plugin(path: str) -> None:
    """Execute a user's file that registers samplers, spacings or rules."""
    import runpy

    if not Path(path).is_file():
        raise InputError(path, "--plugin", "no such file", "a Python file")
    runpy.run_path(path)


def _people(arguments: argparse.Namespace, model: Any) -> Any:
    """The ImageSet of --people, or None."""
    from brain_diffusion_jax.api import sweep_tables

    if not arguments.people:
        for name in ("only", "reference"):
            if getattr(arguments, name):
                raise InputError("command line", f"--{name}", "without --people", "--people SPLIT")
        return None
    if arguments.set or arguments.conditions or arguments.each != 1:
        raise InputError("command line", "--people", "beside --set, --conditions or --each", "one of them")
    if not arguments.age_model:
        raise InputError("command line", "--people", "no --age-model", "a regressor that reads the pictures")
    only = parse_set(arguments.only) if arguments.only else []
    return sweep_tables.people(model, arguments.data, arguments.people, only)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    from tqdm import tqdm

    with tqdm(unit="picture", disable=None) as bar:

        def tell(stage: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_description(stage)
            bar.update(done - bar.n)

        yield tell


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax.api import sweep_tables, sweeps
    from brain_diffusion_jax.api.guides import Guides
    from brain_diffusion_jax.api.predictors import Predictors

    if arguments.plugin:
        run_plugin(arguments.plugin)
    output = OutputOptions.of(arguments)
    model = open_model(arguments.run, "diffusion", arguments)
    real = _people(arguments, model)
    wanted = ConditionOptions.of(arguments).read(model.schema) if real is None else list(real.conditions)
    if "optimised" in _words(arguments.spacings or ""):
        sweeps.register_optimised(model, wanted)
    calls = _numbers(arguments.calls, "--calls", int) if arguments.calls else []
    configs = sweeps.configs_of(model, axes_from(arguments), calls)
    compared = sweep_tables.Compared(
        Predictors.load(model.contract if real is not None else None, age=arguments.age_model),
        real,
        sweep_tables.reference_of(arguments.reference, configs),
        arguments.bootstrap,
    )
    with _bar() as progress:
        found = sweeps.sweep(
            model,
            wanted,
            configs,
            output.out,
            guides=Guides.load(model, arguments.weak, arguments.judge, arguments.judge_std, output.checkpoint),
            compared=compared,
            ema=not output.no_ema,
            checkpoint=output.checkpoint,
            resume=output.resume,
            batch_size=output.batch,
            memory_limit=None if arguments.memory_gib is None else int(arguments.memory_gib * 2**30),
            progress=progress,
        )
    count = len(found.folders)
    if output.json:
        cells = {"cells": found.table[:count], "real": found.table[count:]}
        print(json.dumps({"out": output.out, **cells, "grid": str(found.grid)}))
    else:
        print(sweep_tables.text(found.table))
        print(f"{count} cells of {len(wanted)} pictures in {output.out} (sweep.csv, grid.png)")
    return 0
