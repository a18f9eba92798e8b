"""The table of a sweep: settings, network calls, and what a regressor or real held-out people say of each cell."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brain_diffusion_jax.errors import InputError

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def people(arguments: argparse.Namespace, model: Any) -> Any:
    """The PictureSet of --people, or None."""
    if not arguments.people:
        for name in ("only", "reference"):
            if getattr(arguments, name):
                raise InputError("command line", f"--{name}", "without --people", "--people SPLIT")
        return None
    from brain_diffusion_jax.evaluation.probes.roles import Roles
    from brain_diffusion_jax.evaluation.study.picture_sets import check
    from brain_diffusion_jax.evaluation.study.real_people import people_of

    if arguments.set or arguments.conditions or arguments.each != 1:
        raise InputError("command line", "--people", "beside --set, --conditions or --each", "one of them")
    if not arguments.age_model:
        raise InputError("command line", "--people", "no --age-model", "a regressor that reads the pictures")
    found = people_of(model, arguments.data, arguments.people)
    target = Roles.of(model.schema).target
    if target is None or not found.has(target.name):
        name = "age" if target is None else target.name
        raise InputError(f"--people {arguments.people}", name, "not known of every picture", f"people of known {name}")
    chosen = found[_rows(arguments.only, found, model.schema)]
    return check(chosen, f"--only {' '.join(arguments.only)}")


def _rows(only: Sequence[str], found: Any, schema: Any) -> Any:
    """Rows whose covariates have one of the values of --only."""
    import numpy as np

    from brain_diffusion_jax.cli.options import parse_set

    wanted = schema.decode(schema.encode(parse_set(only)))

    def same(a: Any, b: Any) -> bool:
        return a == b if isinstance(a, str) or isinstance(b, str) else abs(float(a) - float(b)) < 1e-3

    def fits(condition: Any) -> bool:
        return any(all(same(condition.get(k), v) for k, v in w.items()) for w in wanted)

    return np.flatnonzero([fits(c) for c in found.conditions]) if only else np.arange(len(found))


def reference_of(arguments: argparse.Namespace, cells: Sequence[Any]) -> Any:
    """The Cell of --reference, otherwise as the first one; None without."""
    from dataclasses import replace

    if not arguments.reference:
        return None
    sampler, _, steps = arguments.reference.partition(":")
    if not steps.isdigit():
        raise InputError("command line", "--reference", arguments.reference, "SAMPLER:STEPS, e.g. ddpm:1000")
    return replace(cells[0], sampler=sampler, num_steps=int(steps), spacing="trailing", sampler_options=())


def rows(
    cells: Sequence[Any], folders: Any, schedule: Any, real: Any, reference: Any, arguments: argparse.Namespace
) -> list[Row]:
    """One row a cell: its settings, network calls, mean intensity, and what was asked to judge it.

    real: of `people`, or None; has a row at the end. reference: one of the cells, or None.
    """
    from brain_diffusion_jax.cli.sweep_guides import scale_text
    from brain_diffusion_jax.data.sample_folder import read_pictures
    from brain_diffusion_jax.diffusion import plan

    contract = next(iter(folders.values())).contract
    judge: Callable[..., Row]
    last: list[Row] = []
    if real is not None:
        judge, floor = _beside_people(arguments, contract, real, reference and folders[reference].path)
        last = [{"sampler": "real people", "pictures": len(real), **floor}]
    else:
        judge = _errors(arguments.age_model) if arguments.age_model else lambda pictures, manifest: {}
    found = []
    for cell in cells:
        pictures, manifest = read_pictures(folders[cell].path)
        row: Row = {
            "cell": cell.key(),
            "sampler": cell.sampler,
            "num_steps": cell.num_steps,
            "network_calls": plan.network_calls(cell, schedule),
            "spacing": cell.spacing,
            "guidance": cell.guidance,
            "guidance_scale": scale_text(cell.guidance_scale),
            "seed": cell.seed,
            **({"model": cell.model} if cell.model else {}),
            **dict((*cell.sampler_options, *cell.guidance_options)),
            "pictures": len(pictures),
            "mean": round(float(pictures.mean()), 5),
            "std": round(float(pictures.std()), 5),
        }
        found.append(row | judge(pictures, manifest))
    return found + last


def _beside_people(
    arguments: argparse.Namespace, contract: Any, real: Any, reference: Path | None
) -> tuple[Callable[..., Row], Row]:
    """(pictures, manifest) -> columns of `evaluation.study.matched_sets`, each with its interval; `real`'s own."""
    from brain_diffusion_jax import config
    from brain_diffusion_jax.api.predictors import Predictors
    from brain_diffusion_jax.data.sample_folder import read_pictures
    from brain_diffusion_jax.evaluation.study import matched_sets

    instruments = Predictors.load(contract, age=arguments.age_model).instruments
    dark = config.load_config(arguments.run).study.dark_fraction
    sets = matched_sets.of(real, instruments, contract, dark, arguments.bootstrap)
    compared = None if reference is None else sets.reference(read_pictures(reference)[0])
    return lambda pictures, manifest: sets.columns(pictures, compared), matched_sets.flat(sets.real_numbers())


def _errors(run: str) -> Callable[[Any, list[dict[str, str]]], Row]:
    """(pictures, manifest) -> columns of errors by the predictor in `run`."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.evaluation.study import two_sets

    model = api.load(run, "age")
    return lambda pictures, manifest: two_sets.errors(
        model.predict,
        pictures,
        [row.get(model.config.age_model.target) for row in manifest],
        model.config.age_model.target,
    )


def write(path: Path, found: Sequence[Row]) -> None:
    """The rows as CSV."""
    from brain_diffusion_jax.data.table import write_table

    columns = list(dict.fromkeys(k for row in found for k in row))
    write_table(path, columns, ([row.get(name) for name in columns] for row in found))


# Shown of a comparison with people; the CSV has everything.
_SHOWN = ("FD[", "age mae", "age bias", "dark fraction error", "meets")


def text(found: Sequence[Row]) -> str:
    """The rows for a terminal: settings that differ, and numbers as "value [low, high]"."""
    names = [c for c in dict.fromkeys(k for row in found for k in row) if c != "cell"]
    compared = any(f"{name} low" in names for name in names)
    if compared:
        varied = [n for n in names[: names.index("mean")] if len({row.get(n) for row in found if "cell" in row}) > 1]
        numbers = [n for n in names[names.index("std") + 1 :] if n.startswith(_SHOWN)]
        names = varied + [n for n in numbers if not n.endswith((" low", " high"))]
    lines = [names, *([_word(row, name) for name in names] for row in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join("  ".join(word.ljust(w) for word, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _word(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None or f"{name} low" not in row:
        return "" if value is None else str(value)
    low, high = row[f"{name} low"], row[f"{name} high"]
    return f"{value:.3g}" if low is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"
