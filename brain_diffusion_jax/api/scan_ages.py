"""Ages of people from their scans, each checked before it is read."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from brain_diffusion_jax import files
from brain_diffusion_jax.api.loading import slice_contract
from brain_diffusion_jax.config import load_config
from brain_diffusion_jax.config.defaults import COHORT, reads_of
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.checks import scan_checks
from brain_diffusion_jax.data.prepare import age_preparation, nifti, pipeline
from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
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
    """A scan to read. age: the true one, where a cohort tells it."""

    name: str
    path: Path
    age: float | None = None


def people_of(paths: Sequence[Path]) -> list[Person]:
    """A person for each scan, named by `distinct_names`."""
    return [Person(name, path) for name, path in zip(distinct_names(paths), paths, strict=True)]


def cohort_people(config: str | Path, overrides: Sequence[str] = ()) -> list[Person]:
    """The people of a config's cohort, with their ages."""
    found = load_config(config, overrides, reads=reads_of(COHORT))
    cohort = read_cohort(CohortSpec(**found.cohort.to_dict()), Schema.from_json(found.covariates))
    return [Person(s.scan, s.path, s.covariates.get("age")) for s in cohort.scans]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Preparing:
    """How a scan is checked and cut. rule: None is the published one of DeepBrainNet (jpeg: with its JPEG loss).

    allowed: `scan_checks.KINDS` that refuse no scan. profile: of the scans that the run was trained on, None where
    there is none and inputs go unchecked.
    """

    rule: Preparation | None
    jpeg: bool = False
    allowed: tuple[str, ...] = ()
    profile: InputProfile | None = None

    @classmethod
    def of(
        cls, model: AgeModel, preparation: str = "auto", *, jpeg: bool = False, allowed: tuple[str, ...] = ()
    ) -> Preparing:
        """What a model needs. preparation: "contract" of the run, "published", or "auto", the first where there is one.

        Raises InputError for "contract" of a run without one, and for a model that reads no slices.
        """
        if preparation == "published" or (preparation == "auto" and model.contract is None):
            return cls(None, jpeg, allowed)
        if model.contract is None:
            found = "no contract (converted weights)"
            raise InputError(model.path, "contract", found, "--preparation published for DeepBrainNet files")
        rule = preparation_of(slice_contract(model, "ages of scans"), model.path)
        return cls(rule, jpeg, allowed, load_profile(model.path))

    def images(self, path: Path) -> tuple[Shaped[np.ndarray, "n rows cols c"], list[int], list[str]]:
        """Stored images of a scan, the slice of each, and notes; InputError where a check refuses it."""
        volume = nifti.read_volume(path)
        # Whether a scan is sharp enough, the scans that the run was trained on know best.
        findings = scan_checks.check_brain(volume, () if self.profile is None else ("sharpness",))
        if self.rule is None:
            notes = scan_checks.refuse(path, findings, self.allowed)
            return age_preparation.stored_pictures(volume, jpeg=self.jpeg), list(age_preparation.SLICES), notes
        if self.rule.rule.rule == "fixed":
            findings += scan_checks.check_fixed_intensity(volume, self.rule.rule.low, self.rule.rule.high)
        notes = scan_checks.refuse(path, findings, self.allowed)
        prepared = pipeline.prepare_volume(path, self.rule)
        return prepared.pictures[..., None], prepared.indices, notes


class Prepared(NamedTuple):
    """images: [n, rows, cols, c], or None with the reason; indices: slice of each."""

    person: Person
    images: Shaped[np.ndarray, "n rows cols c"] | None
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


def prepare_person(person: Person, how: Preparing) -> Prepared:
    """Read, check and cut one scan. Errors become `refused`."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            images, indices, notes = how.images(person.path)
        notes += [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    except InputError as error:
        return Prepared(person, None, [], [], str(error))
    except Exception as error:  # whatever one scan does, the others get their ages
        return Prepared(person, None, [], [], f"{person.path}: cannot be read ({one_line(error)})")
    return Prepared(person, np.ascontiguousarray(images), indices, notes)


def _groups(people: Sequence[Person], how: Preparing) -> Iterator[list[Prepared]]:
    """Groups of GROUP people; the next group is read while the device works on this one."""
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:

        def start(first: int) -> list[Future[Prepared]]:
            return [pool.submit(prepare_person, person, how) for person in people[first : first + GROUP]]

        waiting = start(0)
        for first in range(0, len(people), GROUP):
            current, waiting = waiting, start(first + GROUP)
            yield [future.result() for future in current]


def predict(
    model: AgeModel,
    people: Sequence[Person],
    how: Preparing,
    *,
    batch_size: int = 40,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """A row for each person: name, path, true_age, age, spread, mean, slices, ages, notes, refused.

    progress: (done, total).
    """
    pending, done = [], 0
    for group in _groups(people, how):
        images = [item.images for item in group if item.images is not None]
        # Not waited for: the device works while the next group is read.
        found = predict_slices(model.module.apply, model.params, np.concatenate(images), batch_size) if images else None
        pending.append((group, found))
        done += len(group)
        if progress is not None:
            progress(done, len(people))
    rows = []
    for group, found in pending:
        ages, features = map(np.asarray, found) if found is not None else (np.zeros(0), np.zeros((0, 1)))
        end = 0
        for item in group:
            own = slice(end, end := end + len(item.indices))
            rows.append(_row(item, ages[own].astype(float), features[own], how))
    return rows


def _row(
    item: Prepared, ages: Float[np.ndarray, " n"], features: Float[np.ndarray, "n d"], how: Preparing
) -> dict[str, Any]:
    """The row of a person. ages, features: of the slices; none where the scan was refused before."""
    item = compare_inputs(item, features, how)
    refused, notes = item.refused, list(item.notes)
    if refused:
        ages = ages[:0]
    numbers = person_summary(ages) if len(ages) else {"age": None, "spread": None, "mean": None}
    if len(ages) and not likely(numbers["age"]):
        refused = f"{item.person.path}: age: found {numbers['age']:.4g} years; expected {LIKELY}"
        numbers, ages = dict.fromkeys(numbers), ages[:0]
    elif odd := sum(not likely(age) for age in ages):
        notes.append(f"{odd} of {len(ages)} slices say an age that is not {LIKELY}")
    if how.profile is None and not refused:
        notes.append(UNCHECKED)
    return {
        "name": item.person.name,
        "path": str(item.person.path),
        "true_age": item.person.age,
        **numbers,
        "slices": item.indices if len(ages) else [],
        "ages": ages.tolist(),
        "notes": notes,
        "refused": refused,
    }


def compare_inputs(item: Prepared, features: Float[np.ndarray, "n d"], how: Preparing) -> Prepared:
    """The same scan, refused or with a note where it is unlike those that the run was trained on."""
    if item.images is None or how.profile is None:
        return item
    expected = f"a scan like those the run was trained on ({RATE:.0%} of good ones are refused too; --allow inputs)"
    try:
        departures = how.profile.depart(item.images, item.indices, features)
        found = [scan_checks.Finding("inputs", "; ".join(map(str, departures)), expected)] if departures else []
        notes = scan_checks.refuse(item.person.path, found, how.allowed)
    except InputError as error:
        return item._replace(refused=str(error))
    return item._replace(notes=[*item.notes, *notes])


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
