"""Ages of people from their scans, each checked before it is judged."""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from brain_diffusion_jax import files
from brain_diffusion_jax.data.checks import scan_checks
from brain_diffusion_jax.data.prepare import age_preparation, nifti, pipeline
from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.errors import InputError, one_line
from brain_diffusion_jax.evaluation.probes.age import BiasCorrection
from brain_diffusion_jax.evaluation.probes.age_prediction import person_summary, predict_slices
from brain_diffusion_jax.evaluation.probes.input_checks import UNCHECKED
from brain_diffusion_jax.evaluation.probes.input_profile import RATE, InputProfile, load_profile
from brain_diffusion_jax.evaluation.report.age_tables import LIKELY, likely
from brain_diffusion_jax.json_types import require_types
from brain_diffusion_jax.tasks.age.model import AgeModel

GROUP = 20  # people in one compiled call


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


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own without suffix, or its path below their folder where several share one."""
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
    person: Person, rule: Preparation | None, jpeg: bool, allowed: tuple[str, ...], ignore: tuple[str, ...] = ()
) -> Prepared:
    """Read, check and cut one scan. rule: a Preparation, or None for the published one. Errors become `refused`.

    ignore: measures of `quality` that are not asked.
    """
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
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:

        def start(first: int) -> list[Future[Prepared]]:
            members = people[first : first + GROUP]
            return [pool.submit(prepare_person, person, *how) for person in members]

        waiting = start(0)
        for first in range(0, len(people), GROUP):
            current, waiting = waiting, start(first + GROUP)
            yield [future.result() for future in current]


def predict(
    model: AgeModel,
    people: Sequence[Person],
    *,
    preparation: str = "auto",
    jpeg: bool = False,
    allowed: tuple[str, ...] = (),
    batch_size: int = 40,
) -> list[dict[str, Any]]:
    """A row for each person: name, path, true_age, age, spread, mean, slices, ages, notes, refused.

    preparation: "contract" of the run, "published" of DeepBrainNet (jpeg: with its JPEG loss), or "auto", the first
    where there is one. allowed: `scan_checks.KINDS` that refuse no scan.
    """
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
            if len(years) and not likely(numbers["age"]):
                refused = f"{item.person.path}: age: found {numbers['age']:.4g} years; expected {LIKELY}"
                numbers, years = dict.fromkeys(numbers), years[:0]
            elif odd := sum(not likely(age) for age in years):
                notes = [*notes, f"{odd} of {len(years)} slices say an age that is not {LIKELY}"]
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


def compare_inputs(item: Prepared, profile: InputProfile, features: np.ndarray, allowed: tuple[str, ...]) -> Prepared:
    """The same scan, refused or with a note where it is unlike those that the run was trained on."""
    expected = f"a scan like those the run was trained on ({RATE:.0%} of good ones are refused too; --allow inputs)"
    try:
        departures = profile.depart(item.pictures, item.indices, features)
        found = [scan_checks.Finding("inputs", "; ".join(map(str, departures)), expected)] if departures else []
        notes = scan_checks.refuse(item.person.path, found, allowed)
    except InputError as error:
        return item._replace(refused=str(error))
    return item._replace(notes=[*item.notes, *notes])


def _rule(model: AgeModel, preparation: str) -> Preparation | None:
    """The preparation of the run's contract; None for the published one."""
    if preparation == "published" or (preparation == "auto" and model.contract is None):
        return None
    if model.contract is None:
        found = "no contract (converted weights)"
        raise InputError(model.path, "contract", found, "--preparation published for DeepBrainNet files")
    return preparation_of(model.contract, model.path)


def bias_correction(run: Path) -> BiasCorrection | None:
    """The bias correction that train-age fitted on validation people; None where the run has none."""
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
