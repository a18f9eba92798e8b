"""Ages of people from their T1 scans, after checking that the scans can be judged.

  brain-diffusion predict-age runs/age sub-01_T1w.nii.gz sub-02_T1w.nii.gz --out ages/
  brain-diffusion predict-age runs/deepbrainnet --cohort configs/oasis_axial.py cohort.root=FOLDER --out ages/

Scans must be skull-stripped and registered to MNI space; any orientation and intensity unit is read.
A run trained here prepares scans by its own contract; converted DeepBrainNet files use the published
preparation (1 mm MNI grid, 185 / 97th percentile, slices z = 45..124, 8 bit, 256x256). A scan with the
skull on, unregistered, lying otherwise than its header says, blurred, with planes missing, in another unit than
the model's, or otherwise unlike the scans that the run was trained on (about 2 % of good scans too) is
refused with the reason in ages.csv; the other people's ages are written, and the exit status is 2.
Writes ages.csv (the median over slices and its spread, with the scan's path), slices.csv and ages.png.
An age outside 0 to 120 years is no answer: its row says so in place of the number.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from brain_diffusion_jax import files

GROUP = 20  # people in one compiled call
LIKELY_YEARS = (0.0, 120.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="run folder of train-age or convert keras")
    parser.add_argument("scans", nargs="*", metavar="SCAN", help=".nii or .nii.gz files, or section.key=value")
    parser.add_argument("--cohort", metavar="CONFIG", help="people of the config's cohort instead of files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write (new)")
    parser.add_argument("--preparation", choices=("auto", "contract", "published"), default="auto")
    parser.add_argument("--jpeg", action="store_true", help="published preparation with its JPEG loss")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CHECK",
        help="go on in spite of: position, orientation, skull, registration, detail, intensity or inputs (unlike "
        "what the run was trained on); a warning stays",
    )
    parser.add_argument("--batch", type=int, default=40, help="slices at once on the device (default 40)")
    parser.add_argument("--json", action="store_true", help="print the ages as JSON")


class Person(NamedTuple):
    """A scan to judge. age: the true one, where a cohort tells it."""

    name: str
    path: Path
    age: float | None = None


class Prepared(NamedTuple):
    """pictures: [n, rows, cols, c], or None with the reason; indices: slice of each."""

    person: Person
    pictures: Any
    indices: list[int]
    notes: list[str]
    refused: str = ""


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax import api
    from brain_diffusion_jax.data.checks.scan_checks import KINDS
    from brain_diffusion_jax.errors import InputError, nearest

    for kind in arguments.allow:
        if kind not in KINDS:
            raise InputError("command line", "--allow", kind, nearest(kind, KINDS))
    files.require_new_folder(arguments.out, "--out")
    model = api.load(arguments.model)
    if not isinstance(model, api.AgeModel):
        raise InputError(arguments.model, "kind", model.kind, "age")
    rows = predict(
        model,
        find_people(arguments),
        preparation=arguments.preparation,
        jpeg=arguments.jpeg,
        allowed=tuple(arguments.allow),
        batch_size=arguments.batch,
    )
    with files.replacing_folder(arguments.out) as part:
        write(part, rows, _correction(arguments.model))
    if arguments.json:
        print(json.dumps([{k: v for k, v in row.items() if k not in ("slices", "ages")} for row in rows]))
    else:
        print(_table(rows))
        print(f"{arguments.out}: ages.csv, slices.csv, ages.png")
    return 2 if any(row["refused"] for row in rows) else 0


def find_people(arguments: argparse.Namespace) -> list[Person]:
    """The scans named on the command line, or those of a cohort."""
    from brain_diffusion_jax.config import load_config
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.kinds import READS

    if not arguments.cohort:
        if not arguments.scans:
            raise InputError("command line", "SCAN", "nothing", "scans, or --cohort CONFIG")
        paths = [Path(scan) for scan in arguments.scans]
        return [Person(name, path) for name, path in zip(distinct_names(paths), paths, strict=True)]
    config = load_config(arguments.cohort, arguments.scans, reads=READS["predict-age"])
    cohort = read_cohort(CohortSpec(**config.cohort.to_dict()), Schema.from_json(config.covariates))
    return [Person(s.scan, s.path, s.covariates.get("age")) for s in cohort.scans]  # type: ignore[arg-type]


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own without suffix, or its path below their folder where several share one."""
    import os
    from collections import Counter

    from brain_diffusion_jax.errors import InputError

    full = [os.path.abspath(path) for path in paths]
    repeated = [name for name, count in Counter(full).items() if count > 1]
    if repeated:
        raise InputError("command line", "SCAN", f"{repeated[0]} more than once", "each scan once")
    own = [path.name.removesuffix(".gz").removesuffix(".nii") for path in paths]
    alike = {name: [f for n, f in zip(own, full, strict=True) if n == name] for name in own}
    return [
        name if len(alike[name]) == 1 else os.path.relpath(path, os.path.commonpath(alike[name]))
        for name, path in zip(own, full, strict=True)
    ]


def prepare_person(
    person: Person, rule: Any, jpeg: bool, allowed: tuple[str, ...], ignore: tuple[str, ...] = ()
) -> Prepared:
    """Read, check and cut one scan. rule: a Preparation, or None for the published one. Errors become `refused`.

    ignore: measures of `quality` that are not asked.
    """
    import warnings

    import numpy as np

    from brain_diffusion_jax.data.checks import scan_checks
    from brain_diffusion_jax.data.prepare import age_preparation, nifti, pipeline
    from brain_diffusion_jax.errors import InputError, one_line

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            volume = nifti.read_volume(person.path)
            findings = scan_checks.check_brain(volume, ignore)
            if rule is not None and rule.rule.rule == "fixed":
                findings += scan_checks.check_fixed_intensity(volume, rule.rule.low, rule.rule.high)
            notes = scan_checks.refuse(person.path, findings, allowed)
            if rule is None:
                pictures = age_preparation.stored_pictures(volume, jpeg=jpeg)
                indices = list(age_preparation.SLICES)
            else:
                prepared = pipeline.prepare_volume(person.path, rule)
                pictures, indices = prepared.pictures[..., None], prepared.indices
        notes += [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    except InputError as error:
        return Prepared(person, None, [], [], str(error))
    except Exception as error:  # whatever one scan does, the others get their ages
        return Prepared(person, None, [], [], f"{person.path}: cannot be judged ({one_line(error)})")
    return Prepared(person, np.ascontiguousarray(pictures), indices, notes)


def _groups(people: Sequence[Person], *how: Any) -> Iterator[list[Prepared]]:
    """Groups of GROUP people; the next group is read while the device works on this one."""
    from concurrent.futures import ThreadPoolExecutor
    from os import cpu_count

    with ThreadPoolExecutor(max(1, min(4, cpu_count() or 1))) as pool:

        def start(first: int) -> list:
            members = people[first : first + GROUP]
            return [pool.submit(prepare_person, person, *how) for person in members]

        waiting = start(0)
        for first in range(0, len(people), GROUP):
            current, waiting = waiting, start(first + GROUP)
            yield [future.result() for future in current]


def predict(
    model: Any,
    people: Sequence[Person],
    *,
    preparation: str = "auto",
    jpeg: bool = False,
    allowed: tuple[str, ...] = (),
    batch_size: int = 40,
) -> list[dict[str, Any]]:
    """A row for each person: name, path, true_age, age, spread, mean, slices, ages, notes, refused."""
    import sys

    import numpy as np
    from tqdm import tqdm

    from brain_diffusion_jax.cli.input_checks import UNCHECKED
    from brain_diffusion_jax.evaluation.probes.age_prediction import person_summary, predict_slices
    from brain_diffusion_jax.evaluation.probes.input_profile import load_profile

    rule = _rule(model, preparation)
    profile = load_profile(model.path) if rule is not None else None
    if profile is None:
        print(f"{model.path}: {UNCHECKED}", file=sys.stderr)
    # Whether a scan is sharp enough, the scans that the run was trained on know best.
    ignore = () if profile is None else ("sharpness",)
    apply = model.module.apply
    pending = []
    for group in tqdm(
        _groups(people, rule, jpeg, allowed, ignore), total=-(-len(people) // GROUP), unit="group", file=sys.stderr
    ):
        good = [item for item in group if item.pictures is not None]
        images = np.concatenate([item.pictures for item in good]) if good else None
        # Not waited for: the device works while the next group is read.
        found = None if images is None else predict_slices(apply, model.params, images, batch_size)
        pending.append((group, found))
    rows = []
    for group, found in pending:
        every, seen = map(np.asarray, found) if found is not None else (np.zeros(0), np.zeros((0, 1)))
        place = 0
        for item in group:
            own = slice(place, place + len(item.indices))
            place = own.stop
            if item.pictures is not None and profile is not None:
                item = compare_inputs(item, profile, seen[own], allowed)
            refused, notes = item.refused, item.notes
            years = every[own][:0] if refused else every[own].astype(float)
            numbers = person_summary(years) if len(years) else {"age": None, "spread": None, "mean": None}
            if len(years) and not _likely(numbers["age"]):
                refused = f"{item.person.path}: age: found {numbers['age']:.4g} years; expected {_LIKELY}"
                numbers, years = dict.fromkeys(numbers), years[:0]
            elif odd := sum(not _likely(age) for age in years):
                notes = [*notes, f"{odd} of {len(years)} slices say an age that is not {_LIKELY}"]
            if profile is None and not refused:
                notes = [*notes, UNCHECKED]
            rows.append(
                {
                    "name": item.person.name,
                    "path": str(item.person.path),
                    "true_age": item.person.age,
                    **numbers,
                    "slices": item.indices if len(years) else [],
                    "ages": years.tolist(),
                    "notes": notes,
                    "refused": refused,
                }
            )
    return rows


_LIKELY = f"{LIKELY_YEARS[0]:g} to {LIKELY_YEARS[1]:g} years"


def _likely(age: float | None) -> bool:
    return age is not None and LIKELY_YEARS[0] <= age <= LIKELY_YEARS[1]  # False for NaN


def compare_inputs(item: Prepared, profile: Any, features: Any, allowed: tuple[str, ...]) -> Prepared:
    """The same scan, refused or with a note where it is unlike those that the run was trained on."""
    from brain_diffusion_jax.data.checks import scan_checks
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.probes.input_profile import RATE

    expected = f"a scan like those the run was trained on ({RATE:.0%} of good ones are refused too; --allow inputs)"
    try:
        departures = profile.depart(item.pictures, item.indices, features)
        found = [scan_checks.Finding("inputs", "; ".join(map(str, departures)), expected)] if departures else []
        notes = scan_checks.refuse(item.person.path, found, allowed)
    except InputError as error:
        return item._replace(refused=str(error))
    return item._replace(notes=[*item.notes, *notes])


def _rule(model: Any, preparation: str) -> Any:
    """The preparation of the run's contract; None for the published one."""
    from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
    from brain_diffusion_jax.errors import InputError

    if preparation == "published" or (preparation == "auto" and model.contract is None):
        return None
    if model.contract is None:
        found = "no contract (converted weights)"
        raise InputError(model.path, "contract", found, "--preparation published for DeepBrainNet files")
    return preparation_of(model.contract, model.path)


def _correction(run: Path) -> Any:
    """The bias correction that train-age fitted on validation people; None where the run has none."""

    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.probes.age import BiasCorrection
    from brain_diffusion_jax.json_types import require_types

    path = run / "age_report.json"
    if not path.exists():
        return None
    report = files.read_json(path, "age report")
    name = next((name for name in ("test", "validation") if name in report), None)
    if name is None:
        return None
    require_types(report, {name: dict[str, Any]}, path)
    found = report[name].get("correction")
    require_types({"correction": found}, {"correction": dict[str, Any]}, path, f"{name}.")
    require_types(found, {"slope": float, "intercept": float}, path, f"{name}.correction.")
    if not {"slope", "intercept"} <= set(found):
        raise InputError(path, f"{name}.correction", sorted(found), "slope and intercept")
    return BiasCorrection(found["slope"], found["intercept"])


def write(out: Path, rows: Sequence[dict[str, Any]], correction: Any = None) -> None:
    """ages.csv, slices.csv and ages.png."""
    from brain_diffusion_jax.data.table import write_table

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    def lines() -> Iterator[list[Any]]:
        for row in rows:
            corrected = float(correction(row["age"])) if correction and row["age"] is not None else None
            notes = row["notes"]
            if corrected is not None and not _likely(corrected):
                notes = [*notes, f"the bias-corrected age ({corrected:.4g}) is not {_LIKELY} and was left out"]
                corrected = None
            ages = [number(row[k]) for k in ("true_age", "age", "spread", "mean")]
            last = ["; ".join(notes), row["refused"], row["path"]]
            yield [row["name"], *ages, number(corrected), len(row["ages"]), *last]

    header = ["scan", "true_age", "age", "spread", "mean", "bias_corrected", "slices", "notes", "refused", "path"]
    write_table(out / "ages.csv", header, lines())
    each = (
        [row["name"], index, number(age)] for row in rows for index, age in zip(row["slices"], row["ages"], strict=True)
    )
    write_table(out / "slices.csv", ["scan", "slice", "age"], each)
    if any(row["age"] is not None for row in rows):
        plot(out / "ages.png", [row for row in rows if row["age"] is not None])


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """PNG: up to eight people slice by slice; more as medians with spread, over the true age where known."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    if len(rows) <= 8:
        for row in rows:
            label = files.readable(f"{row['name']}: {row['age']:.1f}")
            (line,) = axes.plot(row["slices"], row["ages"], ".-", linewidth=0.8, label=label)
            axes.axhline(row["age"], color=line.get_color(), linewidth=1, linestyle="--")
        axes.set(xlabel="slice", ylabel="predicted age (years)", title="Each slice, and the median (dashed)")
        axes.legend(frameon=False, fontsize=8)
    else:
        known = all(row["true_age"] is not None for row in rows)
        ordered = rows if known else sorted(rows, key=lambda row: row["age"])
        x = [row["true_age"] for row in ordered] if known else list(range(1, len(rows) + 1))
        ages = [row["age"] for row in ordered]
        axes.errorbar(x, ages, yerr=[row["spread"] for row in ordered], fmt="o", ms=3.5, lw=0.7)
        if known:
            ends = [min(*x, *ages), max(*x, *ages)]
            axes.plot(ends, ends, color="0.7", linewidth=1, zorder=0)
        axes.set(xlabel="true age (years)" if known else "person, by predicted age", ylabel="predicted age (years)")
        axes.set_title(f"{len(rows)} people: median over slices and spread")
    with files.replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'scan':<{width}}  {'age':>6}  {'spread':>6}"]
    for row in rows:
        ages = f"{row['age']:6.1f}  {row['spread']:6.1f}" if row["age"] is not None else f"{'-':>6}  {'-':>6}"
        lines.append(f"{row['name']:<{width}}  {ages}  {row['refused'] or '; '.join(row['notes'])}".rstrip())
    return "\n".join(lines)
