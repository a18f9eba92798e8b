"""Sweeps: guidance scales, options and seeds in one compiled call; samplers, steps and spacings around it."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brain_diffusion_jax.api.guides import Guides, averaged, scale_text
from brain_diffusion_jax.api.samples import record_of
from brain_diffusion_jax.api.sweep_tables import Compared, Row, rows, write
from brain_diffusion_jax.covariates import Condition
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.sample_folder import LOCK, SampleFolder, read_pictures
from brain_diffusion_jax.diffusion import levels, plan, spacing_search
from brain_diffusion_jax.diffusion.plan import SamplingConfig
from brain_diffusion_jax.diffusion.samplers.base import initial_noise
from brain_diffusion_jax.diffusion.sampling import Sampling
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation import rich
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.model import Conditions
from brain_diffusion_jax.training.run_folder.stopping import lock

EMA = "ema="  # SamplingConfig.model of an average of the weights

Folders = dict[SamplingConfig, SampleFolder]


@dataclass(frozen=True)
class SweepSettings:
    """What changes no image. ema, checkpoint: which weights were loaded, for the record.

    resume: finished configurations are not computed again. batch_size: images at once over all configurations
    (None: the config's). memory_limit: bytes; refuses what needs more.
    """

    ema: bool = True
    checkpoint: int | None = None
    resume: bool = False
    batch_size: int | None = None
    memory_limit: int | None = None


class Sweep(NamedTuple):
    """folders: of the images of each configuration; table: a row each, then real people; grid: the contact sheet."""

    folders: Folders
    table: list[Row]
    grid: Path

    def _repr_html_(self) -> str:
        columns = [c for c in dict.fromkeys(k for row in self.table for k in row) if c not in ("cell", "key")]
        return rich.file_html(self.grid, "rows: conditions; columns: settings") + rich.table_html(
            columns, [[row.get(name, "") for name in columns] for row in self.table]
        )

    def show(self) -> None:
        """Display grid and table in a notebook; elsewhere print them."""
        rich.show(self)


def configs_of(
    model: DiffusionModel, axes: Mapping[str, Sequence[Any]], calls: Sequence[int] = ()
) -> tuple[SamplingConfig, ...]:
    """The product of the axes of `plan.sampling_configs`; an axis that is not given is the run's config.

    calls: instead of num_steps, as many steps as the sampler can make in so many network calls.
    Raises InputError for an empty axis and what cannot be.
    """
    default, section = model.sampling(), model.config.sample
    chosen: dict[str, Sequence[Any]] = {"sampler": [default.sampler], "num_steps": [default.num_steps]}
    chosen |= {"spacing": [default.spacing], **axes}
    etas = {Sampling.resolve(section, sampler=name).eta for name in chosen["sampler"]} - {None}
    if etas and "eta" not in chosen:
        chosen["eta"] = sorted(etas, key=str)
    for name, values in chosen.items():
        if not values:
            raise InputError("command line", name, "nothing", "at least one value")
    configs, schedule = plan.sampling_configs(chosen), model.process.table
    if calls:
        configs = tuple(dict.fromkeys(plan.within_calls(c, most, schedule) for c in configs for most in calls))
    for config in configs:
        levels.check_num_steps(schedule, config.num_steps)
    return configs


def register_optimised(model: DiffusionModel, conditions: Conditions, most: int = 16) -> None:
    """Make "optimised" the spacing that suits this model, found on up to `most` of the conditions without guidance."""
    chosen = np.unique(np.linspace(0, len(conditions) - 1, min(most, len(conditions))).astype(int))
    condition = Condition(*model.schema.encode([conditions[i] for i in chosen]))
    x = initial_noise(
        plan.noise_keys(2**31 - 3, len(chosen)), (len(chosen), *model.codec.latent_shape(model.image_shape()))
    )
    levels.register("optimised", spacing_search.Optimised(model.denoise, x, condition), replace=True)


def run_plugin(path: Path) -> None:
    """Execute a user's file that registers samplers, spacings or rules."""
    if not path.is_file():
        raise InputError(path, "--plugin", "no such file", "a Python file")
    runpy.run_path(str(path))


def sweep(
    model: DiffusionModel,
    conditions: Conditions,
    configs: Sequence[SamplingConfig],
    out: str | Path,
    *,
    guides: Guides = Guides(),
    compared: Compared = Compared(),
    settings: SweepSettings = SweepSettings(),
    progress: Callable[[str, int, int], None] | None = None,
) -> Sweep:
    """Images of every condition under every configuration, common noise; a folder each, sweep.csv and grid.png.

    progress: (stage, done, total). Raises InputError before anything is written.
    """
    out, wanted = Path(out), [dict(condition) for condition in conditions]
    configs = list(dict.fromkeys([*configs, compared.reference] if compared.reference else configs))
    for config in configs:
        levels.check_num_steps(model.process.table, config.num_steps)
    guides.check(configs, model)
    # By SamplingConfig.model: the model itself for "", otherwise with that average of its weights.
    models = {
        name: averaged(model, name.removeprefix(EMA), settings.checkpoint) if name else model
        for name in {config.model for config in configs}
    }
    shared = {**record_of(model, ema=settings.ema), "conditions": wanted, **guides.record()}
    if not settings.resume and out.exists() and (not out.is_dir() or any(p.name != LOCK for p in out.iterdir())):
        raise InputError(out, "output folder", "files of an earlier call", "a new folder, or --resume")
    with lock(out):
        folders: Folders = {}
        for config in configs:
            # "cell" is what release 0.1 called a configuration.
            mine = {**shared, "weights": models[config.model].version, "cell": config.to_json()}
            folders[config] = SampleFolder(folder_of(out, config), mine, model.contract, resume=settings.resume)
        options = {"batch_size": settings.batch_size, "memory_limit": settings.memory_limit}
        _compute(models, guides.fixed(model), wanted, folders, options, progress or (lambda stage, done, total: None))
        table = rows(model, folders, compared)
        write(out / "sweep.csv", table)
        return Sweep(folders, table, _grid(out, list(folders.values()), len(wanted)))


def folder_of(out: Path, config: SamplingConfig) -> Path:
    """The folder of a configuration; sweeps of 0.1 named it by its key."""
    old = out / config.key()
    return old if old.is_dir() else out / config.folder_name()


def _compute(
    models: Mapping[str, DiffusionModel],
    fixed: Mapping[str, dict[str, Any]],
    conditions: list[dict[str, object]],
    folders: Folders,
    options: dict[str, Any],
    progress: Callable[[str, int, int], None],
) -> None:
    """Compute and write what is missing, program by program."""
    total = len(conditions) * len(folders)
    finished = {config.key() for config, folder in folders.items() if folder.done == len(conditions)}
    done = len(conditions) * len(finished)
    for group in plan.programs(folders, finished):
        stage = f"{group[0].sampler} {group[0].num_steps}"
        progress(stage, done, total)
        model = models[group[0].model]
        start = min(folders[config].done for config in group)
        rest = {**options, "fixed": fixed.get(group[0].guidance)}
        for first, images in model.sample_configs(conditions, group, start=start, **rest):
            for config, found in zip(group, images, strict=True):
                skip = max(0, folders[config].done - first)
                folders[config].write(
                    first + skip,
                    found[skip:],
                    conditions[first + skip : first + len(found)],
                    seed=config.seed,
                    guidance_scale=scale_text(config.guidance_scale),
                    columns=model.schema.names,
                    nifti=False,
                )
            done += len(group) * images.shape[1]
            progress(stage, done, total)


def _grid(out: Path, folders: Sequence[SampleFolder], count: int, most: int = 12) -> Path:
    """Rows are conditions (up to `most`, evenly chosen), columns are configurations."""
    chosen = np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))
    columns = [read_pictures(folder.path)[0][chosen] for folder in folders[:most]]
    sheet = np.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:])
    return picture_grid.save_png(out / "grid.png", picture_grid.tile(sheet, len(columns)))
