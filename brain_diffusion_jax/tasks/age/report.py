"""How good a regressor of ages is on people it never saw: what a training adds to its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.shards.reader import load_manifest, read_all
from brain_diffusion_jax.data.table import write_table
from brain_diffusion_jax.evaluation.metrics.agreement import BiasCorrection, correction_of
from brain_diffusion_jax.evaluation.probes import age as age_evaluation
from brain_diffusion_jax.evaluation.probes import input_checks
from brain_diffusion_jax.files import write_json
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.age.loss import find_target
from brain_diffusion_jax.tasks.age.model import AgeModel
from brain_diffusion_jax.tasks.opening import open_run


def write(run: Path, shards: str, replicates: int = 1000) -> dict[str, Any]:
    """Report of the best checkpoint on validation and test people; written into the run folder.

    The bias correction is fitted on validation people only. age_report.json, age_people.csv, age_calibration.png.
    """
    model = cast(AgeModel, open_run(run))
    predictions = _predictions(model, shards)
    people = {name: age_evaluation.by_scan(*items) for name, items in predictions.items()}
    fitted = people.get("validation")
    # Off where the line of validation people can't be trusted.
    line = None if fitted is None else correction_of(fitted.age, fitted.predicted)
    correction = line or BiasCorrection()
    result: dict[str, Any] = {"step": model.step}
    for name, (person, _, age, predicted) in predictions.items():
        result[name] = age_evaluation.report(people[name], (age, predicted, person), correction, replicates=replicates)
    result["input_profile"] = input_checks.write_profile(model, shards)
    write_json(run / "age_report.json", result)
    lines: list[list[Any]] = []
    for name, p in people.items():
        rows = zip(p.person, p.scan, p.age, p.predicted, correction(p.predicted), p.spread, p.slices, strict=True)
        lines += [[name, *row[:2], *(f"{v:.3f}" for v in row[2:6]), row[6]] for row in rows]
    header = ["split", "person", "scan", "age", "predicted", "corrected", "spread", "slices"]
    write_table(run / "age_people.csv", header, lines)
    shown = people.get("test", fitted)
    if shown is not None:
        age_evaluation.calibration_plot(run / "age_calibration.png", shown, correction)
    return result


def summary(result: dict[str, Any], run: Path) -> str:
    """The report as text."""
    parts = [f"{name}:\n{age_evaluation.table(result[name])}" for name in ("validation", "test") if name in result]
    if not result["input_profile"]:
        parts.append("no input profile (few scans and volumes have none): predict-age will not see what is unlike them")
    files = "age_report.json, age_people.csv, age_calibration.png"
    return "\n\n".join([*parts, f"{run}: step {result['step']}; {files}"])


def _predictions(model: AgeModel, shards: str) -> dict[str, tuple[list[str], list[str], np.ndarray, np.ndarray]]:
    """Split -> (person, scan, age, predicted) of every slice with an age, for validation and test people."""
    target = find_target(Contract.load(shards).schema, model.config.age_model.target)
    result = {}
    for split in ("validation", "test"):
        if split not in load_manifest(shards)["splits"]:
            continue
        data = read_all(shards, split)
        known = np.flatnonzero(target.known(data))
        if not len(known):
            continue
        result[split] = (
            [data["person"][i] for i in known],
            [data["scan"][i] for i in known],
            np.asarray(target.years(data["values"]))[known].astype(float),
            model.predict(to_unit(data["image"][known]), 256).astype(float),
        )
    return result
