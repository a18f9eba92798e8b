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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli import sweep_guides, sweep_table
from brain_diffusion_jax.cli.options import ConditionOptions, OutputOptions, open_model
from brain_diffusion_jax.seeds import check_seed

_EMA = "ema="


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
    sweep_guides.add_arguments(parser)
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
    sweep_table.add_arguments(parser)
    parser.add_argument("--plugin", help="a Python file that registers samplers, spacings or guidance rules")
    parser.add_argument("--memory-gib", type=float, help="refuse what needs more, and say what would fit")


def _words(text: str) -> list[str]:
    return [w for w in text.split(",") if w]


def _numbers(text: str, option: str, kind: type = float) -> list[Any]:
    from brain_diffusion_jax.errors import InputError

    try:
        return [kind(w) for w in _words(text)]
    except ValueError:
        expected = "numbers separated by commas" if kind is float else "whole numbers separated by commas"
        raise InputError("command line", option, repr(text), expected) from None


def axes_from(arguments: argparse.Namespace, config: Any) -> dict[str, list[Any]]:
    """The axes of `plan.sampling_configs`."""
    from brain_diffusion_jax.diffusion import samplers
    from brain_diffusion_jax.errors import InputError

    if arguments.steps and arguments.calls:
        raise InputError("command line", "--calls", "beside --steps", "one of them")
    names = list(samplers.names()) if arguments.samplers == "all" else _words(arguments.samplers or config.sampler)
    axes: dict[str, list[Any]] = {
        "sampler": names,
        "num_steps": _numbers(arguments.steps, "--steps", int) if arguments.steps else [config.num_steps],
        "spacing": _words(arguments.spacings or config.spacing),
        "guidance": _words(arguments.guidance_rules),
        "guidance_scale": sweep_guides.scales_from(arguments.scales),
        "seed": [check_seed(seed, "command line", "--seeds") for seed in _numbers(arguments.seeds, "--seeds", int)],
    }
    if arguments.ema_lengths:
        axes["model"] = [f"{_EMA}{word}" for word in _words(arguments.ema_lengths)]
    for item in arguments.axis:
        name, separator, text = item.partition("=")
        if not separator or not text or name in axes:
            raise InputError("command line", "--axis", item, "option=value,value of the sampler or guidance rule, once")
        if name == "interval":
            pairs = [pair.partition(":")[::2] for pair in _words(text)]
            axes[name] = [tuple(_numbers(",".join(pair), "--axis interval")) for pair in pairs]
            if any(len(pair) != 2 for pair in axes[name]):
                raise InputError("command line", "--axis interval", text, "low:high,low:high")
        else:
            axes[name] = _numbers(text, f"--axis {name}")
    if "eta" not in axes and config.eta and any("eta" in samplers.options_of(s) for s in axes["sampler"]):
        axes["eta"] = [config.eta]
    for name, values in axes.items():
        if not values:
            raise InputError("command line", name, "nothing", "at least one value")
    return axes


def run_plugin(path: str) -> None:
    """Execute a user's file that registers samplers, spacings or rules."""
    import runpy

    from brain_diffusion_jax.errors import InputError

    if not Path(path).is_file():
        raise InputError(path, "--plugin", "no such file", "a Python file")
    runpy.run_path(path)


def _models(model: Any, names: Iterable[str], checkpoint: int | None) -> dict[str, Any]:
    """The model by `Cell.model`: itself for "", otherwise with the average of the weights that the name asks for."""
    lengths = {name: name.removeprefix(_EMA) for name in names}
    return {
        name: sweep_guides.averaged(model, length, checkpoint) if length else model for name, length in lengths.items()
    }


def cells_from(arguments: argparse.Namespace, model: Any) -> tuple[Any, ...]:
    """The cells asked for; with --calls each in as many steps as its sampler can make."""
    from brain_diffusion_jax.diffusion import plan

    cells, schedule = plan.sampling_configs(axes_from(arguments, model.config.sample)), model.process.table
    if arguments.calls:
        budgets = _numbers(arguments.calls, "--calls", int)
        cells = tuple(dict.fromkeys(plan.within_calls(c, calls, schedule) for c in cells for calls in budgets))
    return cells


def register_optimised(model: Any, wanted: list[dict], most: int = 16) -> None:
    """Make "optimised" the spacing that suits this model, found on up to `most` of the conditions without guidance."""
    import numpy as np

    from brain_diffusion_jax.covariates import Condition
    from brain_diffusion_jax.diffusion import levels, plan, spacing_search
    from brain_diffusion_jax.diffusion.samplers.base import initial_noise

    rows = np.unique(np.linspace(0, len(wanted) - 1, min(most, len(wanted))).astype(int))
    condition = Condition(*model.schema.encode([wanted[i] for i in rows]))
    x = initial_noise(plan.noise_keys(2**31 - 3, len(rows)), (len(rows), *model._shape(None)))
    levels.register("optimised", spacing_search.Optimised(model.denoise, x, condition), replace=True)


def run(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from brain_diffusion_jax.api.samples import record_of
    from brain_diffusion_jax.data.sample_folder import LOCK, SampleFolder
    from brain_diffusion_jax.diffusion import levels
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.training.run_folder.stopping import lock

    if arguments.plugin:
        run_plugin(arguments.plugin)
    model = open_model(arguments.run, "diffusion", arguments)
    real = sweep_table.people(arguments, model)
    wanted = ConditionOptions.of(arguments).read(model.schema) if real is None else list(real.conditions)
    if "optimised" in _words(arguments.spacings or ""):
        register_optimised(model, wanted)
    cells = cells_from(arguments, model)
    reference = sweep_table.reference_of(arguments, cells)
    cells = tuple(dict.fromkeys([*cells, reference] if reference else cells))
    for cell in cells:
        levels.check_num_steps(model.process.table, cell.num_steps)
    sweep_guides.check(arguments, cells, model)
    guides = sweep_guides.models_of(arguments, model)
    fixed = sweep_guides.fixed_of(arguments, model, guides)
    models = _models(model, (cell.model for cell in cells), arguments.checkpoint)
    shared = {
        **record_of(model, ema=not arguments.no_ema),
        "conditions": wanted,
        **sweep_guides.settings_of(arguments, guides),
    }
    out = Path(arguments.out)
    if not arguments.resume and out.exists() and (not out.is_dir() or any(p.name != LOCK for p in out.iterdir())):
        raise InputError(out, "output folder", "files of an earlier call", "a new folder, or --resume")
    with lock(out):
        folders = {}
        for cell in cells:
            mine = {**shared, "weights": models[cell.model].version, "cell": asdict(cell)}
            folders[cell] = SampleFolder(out / cell.key(), mine, model.contract, resume=arguments.resume)
        _compute(arguments, models, fixed, wanted, cells, folders)
        table = sweep_table.rows(cells, folders, model.process.table, real, reference, arguments)
        sweep_table.write(out / "sweep.csv", table)
        grid = _grid(out, cells, folders, wanted)
    if arguments.json:
        rows = {"cells": table[: len(cells)], "real": table[len(cells) :]}
        print(json.dumps({"out": arguments.out, **rows, "grid": str(grid)}))
    else:
        print(sweep_table.text(table))
        print(f"{len(cells)} cells of {len(wanted)} pictures in {arguments.out} (sweep.csv, grid.png)")
    return 0


def _compute(
    arguments: argparse.Namespace,
    models: dict[str, Any],
    fixed: dict[str, dict],
    wanted: list[dict],
    cells: tuple,
    folders: dict,
) -> None:
    from tqdm import tqdm

    from brain_diffusion_jax.diffusion import plan

    finished = {cell.key() for cell in cells if folders[cell].done == len(wanted)}
    limit = None if arguments.memory_gib is None else int(arguments.memory_gib * 2**30)
    settings = {"batch_size": arguments.batch, "memory_limit": limit}
    total = len(wanted) * len(cells)
    with tqdm(total=total, initial=len(wanted) * len(finished), unit="picture", disable=None) as bar:
        for group in plan.programs(cells, finished):
            bar.set_description(f"{group[0].sampler} {group[0].num_steps}")
            model = models[group[0].model]
            start = min(folders[cell].done for cell in group)
            rest = {**settings, "fixed": fixed.get(group[0].guidance)}
            for first, pictures in model.sample_cells(wanted, group, start=start, **rest):
                for cell, found in zip(group, pictures, strict=True):
                    skip = max(0, folders[cell].done - first)
                    chosen = wanted[first + skip : first + len(found)]
                    scale = sweep_guides.scale_text(cell.guidance_scale)
                    where = {"seed": cell.seed, "guidance_scale": scale, "columns": model.schema.names, "nifti": False}
                    folders[cell].write(first + skip, found[skip:], chosen, **where)
                bar.update(len(group) * pictures.shape[1])


def _grid(out: Path, cells: tuple, folders: dict, wanted: list[dict], most: int = 12) -> Path:
    """Rows are conditions (up to `most`, evenly chosen), columns are cells."""
    import numpy as np

    from brain_diffusion_jax.data import picture_grid
    from brain_diffusion_jax.data.sample_folder import read_pictures

    rows = np.unique(np.linspace(0, len(wanted) - 1, min(most, len(wanted))).astype(int))
    columns = [read_pictures(folders[cell].path)[0][rows, ..., 0] for cell in cells[:most]]
    sheet = np.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:])
    return picture_grid.save_png(out / "grid.png", picture_grid.tile(sheet, len(columns)))
