"""The table of a sweep: settings, network calls, and what predictors or real held-out people say of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax.api.guides import scale_text
from brain_diffusion_jax.api.predictors import Predictors
from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures
from brain_diffusion_jax.data.table import write_table
from brain_diffusion_jax.diffusion import plan
from brain_diffusion_jax.diffusion.plan import SamplingConfig
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, MetricId
from brain_diffusion_jax.evaluation.probes.roles import Roles
from brain_diffusion_jax.evaluation.report.text_tables import aligned
from brain_diffusion_jax.evaluation.study import matched_sets, real_people, two_sets
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel

Row = dict[str, Any]
Columns = Callable[[np.ndarray, Sequence[Mapping[str, str]]], Row]  # (images, manifest) -> columns


@dataclass(frozen=True)
class Compared:
    """What the rows are compared with. real: images, whose conditions the sweep has, read with `predictors.age`.

    reference: one of the configurations; the column meets says which are within its intervals. bootstrap:
    resamples for the intervals, 0 for none.
    """

    predictors: Predictors = field(default_factory=Predictors)
    real: ImageSet | None = None
    reference: SamplingConfig | None = None
    bootstrap: int = 200


def people(
    model: DiffusionModel, data: str | Path | None, split: str, only: Sequence[Mapping[str, Any]] = ()
) -> ImageSet:
    """Held-out people's images of a split whose age is known. only: keeps those that fit one of these conditions."""
    found = real_people.people_of(model, data, split)
    target = Roles.of(model.schema).target
    if target is None or not found.has(target.name):
        name = "age" if target is None else target.name
        raise InputError(f"--people {split}", name, "not known of every image", f"people whose {name} is known")
    words = " ".join(f"{name}={value}" for condition in only for name, value in condition.items())
    return found[_rows(only, found, model)].checked(f"--only {words}")


def _rows(only: Sequence[Mapping[str, Any]], found: ImageSet, model: DiffusionModel) -> np.ndarray:
    """Rows of the images whose conditions fit one of `only`."""
    wanted = model.schema.decode(model.schema.encode(only))

    def same(a: Any, b: Any) -> bool:
        return a == b if isinstance(a, str) or isinstance(b, str) else abs(float(a) - float(b)) < 1e-3

    def fits(condition: Mapping[str, Any]) -> bool:
        return any(all(same(condition.get(k), v) for k, v in w.items()) for w in wanted)

    return np.flatnonzero([fits(c) for c in found.conditions]) if only else np.arange(len(found))


def reference_of(sampler: str, num_steps: int, configs: Sequence[SamplingConfig]) -> SamplingConfig:
    """The configuration of a sampler and its steps, otherwise as the first one."""
    return replace(configs[0], sampler=sampler, num_steps=num_steps, spacing="trailing", sampler_options=())


def rows(model: DiffusionModel, folders: Mapping[SamplingConfig, SampleFolder], compared: Compared) -> list[Row]:
    """One row a configuration: its settings, network calls, mean intensity, and what the comparison says of it.

    Real people have a row at the end.
    """
    last: list[Row] = []
    if compared.real is not None:
        reference = read_pictures(folders[compared.reference].path)[0] if compared.reference else None
        columns, floor = _beside_people(model, compared.real, compared, reference)
        last = [{"sampler": "real people", "pictures": len(compared.real), **floor}]
    else:
        columns = _errors(compared.predictors)
    return [_row(config, folder, model, columns) for config, folder in folders.items()] + last


def _row(config: SamplingConfig, folder: SampleFolder, model: DiffusionModel, columns: Columns) -> Row:
    images, manifest = read_pictures(folder.path)
    return {
        "cell": folder.path.name,
        "key": config.key(),
        "sampler": config.sampler,
        "num_steps": config.num_steps,
        "network_calls": plan.network_calls(config, model.process.table),
        "spacing": config.spacing,
        "guidance": config.guidance,
        "guidance_scale": scale_text(config.guidance_scale),
        "seed": config.seed,
        **({"model": config.model} if config.model else {}),
        **dict((*config.sampler_options, *config.guidance_options)),
        "pictures": len(images),
        "mean": round(float(images.mean()), 5),
        "std": round(float(images.std()), 5),
        **columns(images, manifest),
    }


def _beside_people(
    model: DiffusionModel, real: ImageSet, compared: Compared, reference: np.ndarray | None
) -> tuple[Columns, Row]:
    """Columns of `evaluation.study.matched_sets`, each with its interval; and those of the real people."""
    if compared.predictors.age is None:
        raise InputError("command line", "--people", "no --age-model", "a regressor that reads the images")
    dark, instruments = model.config.study.dark_fraction, compared.predictors.instruments
    sets = matched_sets.of(real, instruments, model.contract, dark, compared.bootstrap)
    limits = None if reference is None else sets.reference(reference)
    return lambda images, manifest: sets.columns(images, limits), matched_sets.flat(sets.real_numbers())


def _errors(predictors: Predictors) -> Columns:
    """Columns of errors by the age model; none without one."""
    model = predictors.age
    if model is None:
        return lambda images, manifest: {}
    target, predict = model.config.age_model.target, model.predict
    return lambda images, manifest: two_sets.errors(predict, images, [row.get(target) for row in manifest], target)


def write(path: Path, found: Sequence[Row]) -> None:
    """The rows as CSV."""
    columns = list(dict.fromkeys(k for row in found for k in row))
    write_table(path, columns, ([row.get(name) for name in columns] for row in found))


def _shown(name: str) -> bool:
    """Of a comparison with people; the CSV has everything."""
    metric = MetricId.parse(name.removesuffix(" more"))
    dark = metric.group == DARK and metric.statistic.startswith("error")
    return name == "meets" or metric.group == "FD" or metric.statistic in ("mae", "bias") or dark


def text(found: Sequence[Row]) -> str:
    """The rows for a terminal: settings that differ, and numbers as "value [low, high]"."""
    names = [c for c in dict.fromkeys(k for row in found for k in row) if c not in ("cell", "key")]
    compared = any(f"{name} low" in names for name in names)
    if compared:
        varied = [n for n in names[: names.index("mean")] if len({row.get(n) for row in found if "cell" in row}) > 1]
        numbers = [n for n in names[names.index("std") + 1 :] if _shown(n)]
        names = varied + [n for n in numbers if not n.endswith((" low", " high"))]
    return aligned([names, *([_word(row, name) for name in names] for row in found)])


def _word(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None or f"{name} low" not in row:
        return "" if value is None else str(value)
    low, high = row[f"{name} low"], row[f"{name} high"]
    return f"{value:.3g}" if low is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"
