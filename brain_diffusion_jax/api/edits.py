"""Counterfactual images: a slice of a person as it would look under another covariate, with an audit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax import files
from brain_diffusion_jax.api.loading import slice_contract
from brain_diffusion_jax.array_types import DenoiseFn, Image, Level
from brain_diffusion_jax.covariates import Condition
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.checks import scan_checks
from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
from brain_diffusion_jax.data.prepare.pipeline import PreparedScan, prepare_volume
from brain_diffusion_jax.diffusion import editing, guidance, levels
from brain_diffusion_jax.diffusion.prediction import Clipped
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import anatomy
from brain_diffusion_jax.evaluation.metrics.ssim import paired_ssim
from brain_diffusion_jax.evaluation.probes import input_checks
from brain_diffusion_jax.pixels import to_uint8, to_unit
from brain_diffusion_jax.tasks.age.model import AgeModel
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.tasks.model import require_finite


@dataclass(frozen=True)
class EditSettings:
    """num_steps: of a whole inversion. strength: how far to invert, 0 to 1. method: "edict" (exact) or "ddim".

    guidance_scale: of both ways; 1 is off.
    """

    num_steps: int = 40
    strength: float = 0.95
    method: str = "edict"
    guidance_scale: float = 1.0


@dataclass(frozen=True)
class Slice:
    """A slice of a scan and what is true of the person. index: on the model's grid; None is the middle one.

    allowed: see `check_inputs`.
    """

    scan: str | Path
    truth: Mapping[str, Any]
    index: int | None = None
    allowed: tuple[str, ...] = ()


class Change(NamedTuple):
    """The covariate that is changed, and the values that are wanted of it, as words."""

    covariate: str
    wanted: Sequence[str]


def prepare_scan(model: DiffusionModel, scan: str | Path, index: int | None) -> tuple[PreparedScan, int]:
    """The scan as the model's contract prepares it, and the row of a slice on the model's grid (None: the middle)."""
    prepared = prepare_volume(scan, preparation_of(slice_contract(model, "edits"), model.path))
    wanted = prepared.indices[len(prepared.indices) // 2] if index is None else index
    if wanted not in prepared.indices:
        first, last = prepared.indices[0], prepared.indices[-1]
        raise InputError("age-edit", "--slice", wanted, f"a slice the model knows: {first} to {last}")
    return prepared, prepared.indices.index(wanted)


def with_slice(model: DiffusionModel, known: Mapping[str, Any], prepared: PreparedScan, row: int) -> dict[str, Any]:
    """What is true of the person, and the slice, which is known from the scan."""
    schema = model.schema
    if "slice" not in schema.names:
        return dict(known)
    in_mm = getattr(schema["slice"], "unit", "") == "mm"
    return {"slice": prepared.positions_mm[row] if in_mm else prepared.indices[row], **known}


def check_inputs(predictor: AgeModel, prepared: PreparedScan, scan: str | Path, allowed: tuple[str, ...]) -> list[str]:
    """Warnings about the scan as an input of the age model; InputError where it is unlike its own, if not allowed."""
    departures = input_checks.unlike(predictor, prepared.pictures[..., None], prepared.indices)
    if departures is None:
        return [f"{scan}: {input_checks.UNCHECKED}"]
    if not departures:
        return []
    expected = "a scan like those that the age model was trained on (--allow inputs to go on)"
    found = "; ".join(map(str, departures))
    return scan_checks.refuse(scan, [scan_checks.Finding("inputs", found, expected)], allowed)


@functools.partial(jax.jit, static_argnames=("guidance_scale", "strength", "method"))
def _edited(
    bare: DenoiseFn,
    path: Level,
    x0: Image,
    source: Condition,
    target: Condition,
    guidance_scale: float,
    strength: float,
    method: str,
) -> Image:
    denoise = guidance.classifier_free(bare, guidance_scale)
    return editing.edit_condition(denoise, path, x0, source, target, strength=strength, method=method)


def edit(
    model: DiffusionModel,
    image: Float[np.ndarray, "rows cols"],
    truth: dict[str, Any],
    wanted: Sequence[dict[str, Any]],
    settings: EditSettings,
) -> Float[np.ndarray, "edits rows cols"]:
    """Unit images [1 + n, rows, cols]: the slice under its own condition, then under each wanted one."""
    process = model.process
    targets = [truth, *wanted]
    source, target = model.schema.encode([truth] * len(targets)), model.schema.encode(targets)
    path = levels.select(process.table, settings.num_steps, "trailing")
    bare = model.denoise.inner if isinstance(model.denoise, Clipped) else model.denoise

    x0 = process.to_network(jnp.asarray(np.repeat(np.asarray(image)[None, ..., None], len(targets), 0)))
    how = settings.guidance_scale, settings.strength, settings.method
    x = _edited(bare, path, x0, source, target, *how)
    require_finite(model.path, np.isfinite(x).all(axis=(1, 2, 3)), targets, f"age-edit, {vars(settings)}")
    return np.asarray(process.to_unit(x))[..., 0]


def audit(
    image: Float[np.ndarray, "rows cols"],
    edited: Float[np.ndarray, "edits rows cols"],
    values: Sequence[float],
    dark_fraction: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
    """What changed and what did not. edited: unchanged first, then one of each value of the covariate.

    dark_fraction: as of evaluation.metrics.anatomy.
    """
    dark = [float(v) for v in dark_fraction(np.clip(edited, 0, 1))]
    order = np.argsort(values)
    same = np.repeat(image[None], len(edited), 0)
    return {
        "reconstruction_mean_absolute_error": float(np.abs(edited[0] - image).mean()),
        "reconstruction_largest_error": float(np.abs(edited[0] - image).max()),
        "ssim_with_the_slice": [round(float(v), 4) for v in paired_ssim(same, edited)],
        "correlation_with_the_slice": [float(np.corrcoef(image.ravel(), p.ravel())[0, 1]) for p in edited],
        "dark_fraction_of_the_slice": float(dark_fraction(image[None])[0]),
        "dark_fraction": dark,
        "dark_fraction_grows": bool(np.all(np.diff(np.asarray(dark)[1:][order]) >= 0)),
    }


def write_edits(
    model: DiffusionModel,
    subject: Slice,
    change: Change,
    settings: EditSettings,
    out: Path,
    *,
    predictor: AgeModel | None = None,
) -> dict[str, Any]:
    """The edits of one slice of a scan as PNGs, grid.png and audit.json, all or none; returns what audit.json holds.

    predictor: reads the edits' ages.
    """
    files.require_new_folder(out, "--out")
    schema, covariate = model.schema, change.covariate
    prepared, row = prepare_scan(model, subject.scan, subject.index)
    image = to_unit(prepared.pictures[row])
    if covariate not in schema.names:
        raise InputError("age-edit", "--covariate", covariate, f"one of {', '.join(schema.names)}")
    if covariate not in subject.truth:
        raise InputError("age-edit", "--set", f"no {covariate}", f"the true one: {covariate}=...")
    truth = with_slice(model, subject.truth, prepared, row)
    notes = check_inputs(predictor, prepared, subject.scan, subject.allowed) if predictor is not None else []
    wanted = [{**truth, covariate: word} for word in change.wanted]
    edited = edit(model, image, truth, wanted, settings)
    column = schema.names.index(covariate)
    values = [float(schema.encode([c]).values[0, column]) for c in wanted]
    dark = anatomy.dark_fraction(model.config.study.dark_fraction, model.contract, image[None])
    report: dict[str, Any] = {"scan": str(subject.scan), "slice": prepared.indices[row], "truth": truth}
    report |= {"to": list(change.wanted), **audit(image, edited, values, dark)}
    shown = np.concatenate([image[None], edited])
    if predictor is not None:
        report["notes"] = notes
        ages = predictor.predict(np.clip(shown, 0, 1)[..., None])
        report["predicted_age_slice_then_edits"] = [float(v) for v in ages]
    changes = np.clip(0.5 + (shown - image), 0, 1)  # around mid grey
    sheet = picture_grid.tile(np.concatenate([shown, changes]), len(shown))
    with files.replacing_folder(out) as part:
        for name, one in zip(["same", *change.wanted], edited, strict=True):
            files.write_png(part / f"edited_{covariate}_{name}.png", to_uint8(one))
        files.write_png(part / "grid.png", sheet)
        if model.contract is not None:
            model.contract.save(part)
        files.write_json(part / "audit.json", report)
    return report
