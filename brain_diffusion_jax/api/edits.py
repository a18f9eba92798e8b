"""Counterfactual images: a slice or volume of a person as it would look under another covariate, with an audit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from brain_diffusion_jax import files
from brain_diffusion_jax.api.loading import slice_contract
from brain_diffusion_jax.array_types import DenoiseFn, Image, Level
from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.covariates import Condition
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.checks import scan_checks
from brain_diffusion_jax.data.prepare import head_volumes
from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
from brain_diffusion_jax.data.prepare.nifti import write_image
from brain_diffusion_jax.data.prepare.pipeline import PreparedScan, prepare_volume, prepare_whole
from brain_diffusion_jax.data.sample_folder import volume_nifti, volume_picture
from brain_diffusion_jax.diffusion import editing, guidance, levels
from brain_diffusion_jax.diffusion.codec import Codec
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
class Subject:
    """A scan and what is true of the person. index: of a slice on the model's grid; None is the middle one.

    allowed: see `check_inputs`.
    """

    scan: str | Path
    truth: Mapping[str, Any]
    index: int | None = None
    allowed: tuple[str, ...] = ()


class Known(NamedTuple):
    """A subject as the model knows it: a unit image and its condition.

    row: index of the slice, None for a whole volume. notes: on the scan.
    """

    image: Float[np.ndarray, "*spatial c"]
    truth: dict[str, Any]
    row: int | None
    notes: list[str]


MOST_LOST = 0.02  # mean absolute error, unit intensity, of an edit to what is true already

# Unit images [n, *spatial, c] -> the values [n] of each measurement, by its name.
Readings = Callable[[np.ndarray], Mapping[str, np.ndarray]]


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


@functools.partial(jax.jit, static_argnames=("guidance_scale", "method"))
def _inverted(bare: DenoiseFn, path: Level, x0: Image, source: Condition, guidance_scale: float, method: str) -> PyTree:
    return editing.invert(guidance.classifier_free(bare, guidance_scale), path, x0, source, method)


@functools.partial(jax.jit, static_argnames=("guidance_scale", "method"))
def _regenerated(
    bare: DenoiseFn, path: Level, inverted: PyTree, target: Condition, guidance_scale: float, method: str
) -> Image:
    return editing.regenerate(guidance.classifier_free(bare, guidance_scale), path, inverted, target, method)


def known(model: DiffusionModel, subject: Subject, predictor: AgeModel | None) -> Known:
    """The slice or volume of a scan as the model's contract prepares it. predictor: the model that will read ages.

    Raises InputError for a model of other images, for a scan that is unlike the predictor's own, and for a predictor of
    other images.
    """
    contract = model.contract
    if contract is None or contract.kind != "volumes":
        prepared, row = prepare_scan(model, subject.scan, subject.index)
        notes = check_inputs(predictor, prepared, subject.scan, subject.allowed) if predictor is not None else []
        truth = with_slice(model, subject.truth, prepared, row)
        return Known(to_unit(prepared.pictures[row])[..., None], truth, prepared.indices[row], notes)
    if subject.index is not None:
        raise InputError("age-edit", "--slice", subject.index, "none: this model makes whole volumes")
    if predictor is not None:
        path, told = predictor.path, predictor.contract
        if told is None:
            raise InputError(path, "contract", "none", "an age model that was trained on these volumes")
        require_same(told, contract, path, ignore=("schema", "split", "measured"))
    whole = prepare_whole(subject.scan, preparation_of(contract, model.path, "volumes"))
    return Known(to_unit(whole.data)[..., None], dict(subject.truth), None, whole.warnings)


def edit(
    model: DiffusionModel,
    image: Float[np.ndarray, "*spatial c"],
    truth: dict[str, Any],
    wanted: Sequence[dict[str, Any]],
    settings: EditSettings,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "edits *spatial c"]:
    """Unit images [1 + n, *spatial, c]: the image under its own condition, then under each wanted one.

    It is inverted once, and generated for one condition after another. progress: (done, total) of these. Raises
    InputError where the inversion does not come back to the image: few large steps make EDICT diverge, and then the
    edits are of nobody.
    """
    tell = progress or (lambda done, total: None)
    targets = [truth, *wanted]
    source, target = model.schema.encode([truth]), model.schema.encode(targets)
    path = editing.start_at(levels.select(model.process.table, settings.num_steps, "trailing"), settings.strength)
    bare = model.denoise.inner if isinstance(model.denoise, Clipped) else model.denoise
    how = settings.guidance_scale, settings.method

    tell(0, 1 + len(targets))
    x0 = _mean(model.codec, jnp.asarray(image)[None])
    inverted, images = jax.block_until_ready(_inverted(bare, path, x0, source, *how)), []
    for number in range(len(targets)):
        tell(1 + number, 1 + len(targets))
        one = Condition(*(values[number : number + 1] for values in target))
        images.append(np.asarray(_regenerated(bare, path, inverted, one, *how)))
    tell(1 + len(targets), 1 + len(targets))
    x = np.concatenate(images)
    finite = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    require_finite(model.path, finite, targets, f"age-edit, {vars(settings)}")
    edited = model.decoded(x)
    lost = float(np.abs(edited[0] - model.decoded(x0)[0]).mean())
    if lost > MOST_LOST:
        found = f"an error of {lost:.2g} where nothing was to change, with {vars(settings)}"
        raise InputError("age-edit", "inversion", found, f"at most {MOST_LOST}: more --steps or a lower --strength")
    return edited


@jax.jit
def _mean(codec: Codec, image: Image) -> Image:
    return codec.mean(image)


def readings(model: DiffusionModel, image: Float[np.ndarray, "*spatial c"], notes: list[str]) -> Readings:
    """What is measured on edits: the dark fraction of slices, ventricles and brain of volumes that were told them.

    Where the region that volumes were measured in is not there, a line is added to `notes`.
    """
    contract = model.contract
    if contract is None or contract.kind != "volumes":
        dark = anatomy.dark_fraction(model.config.study.dark_fraction, contract, image[None])
        return lambda images: {"dark_fraction": dark(images)}
    try:
        region = head_volumes.region_of(contract, model.config.data.shards)
    except InputError as error:
        notes.append(f"ventricles and brain are not measured: {error}")
        region = None
    return lambda images: {} if region is None else head_volumes.measure(to_uint8(images), region)


def audit(
    image: Float[np.ndarray, "*spatial c"],
    edited: Float[np.ndarray, "edits *spatial c"],
    values: Sequence[float],
    measured: Readings,
) -> dict[str, Any]:
    """What changed and what did not. edited: unchanged first, then one of each value of the covariate."""
    word = "slice" if image.ndim == 3 else "volume"
    order = np.argsort(values)
    same = np.repeat(image[None], len(edited), 0)
    report = {
        "reconstruction_mean_absolute_error": float(np.abs(edited[0] - image).mean()),
        "reconstruction_largest_error": float(np.abs(edited[0] - image).max()),
        f"ssim_with_the_{word}": [round(float(v), 4) for v in paired_ssim(same, edited)],
        f"correlation_with_the_{word}": [float(np.corrcoef(image.ravel(), p.ravel())[0, 1]) for p in edited],
    }
    for name, (own, *found) in measured(np.clip(np.concatenate([image[None], edited]), 0, 1)).items():
        report |= {
            f"{name}_of_the_{word}": float(own),
            name: [float(v) for v in found],
            f"{name}_grows": bool(np.all(np.diff(np.asarray(found)[1:][order]) >= 0)),
        }
    return report


def write_edits(
    model: DiffusionModel,
    subject: Subject,
    change: Change,
    settings: EditSettings,
    out: Path,
    *,
    predictor: AgeModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The edits of one scan (PNGs of slices, NIfTI of volumes), grid.png and audit.json, all or none.

    predictor: reads the edits' ages. progress: of `edit`. Returns what audit.json holds.
    """
    files.require_new_folder(out, "--out")
    schema, covariate, contract = model.schema, change.covariate, model.contract
    if covariate not in schema.names:
        raise InputError("age-edit", "--covariate", covariate, f"one of {', '.join(schema.names)}")
    if covariate not in subject.truth:
        raise InputError("age-edit", "--set", f"no {covariate}", f"the true one: {covariate}=...")
    image, truth, index, notes = known(model, subject, predictor)
    wanted = [{**truth, covariate: word} for word in change.wanted]
    edited = edit(model, image, truth, wanted, settings, progress)
    column = schema.names.index(covariate)
    values = [float(schema.encode([c]).values[0, column]) for c in wanted]
    report: dict[str, Any] = {"scan": str(subject.scan)} | ({} if index is None else {"slice": index})
    report |= {"truth": truth, "to": list(change.wanted)}
    report |= audit(image, edited, values, readings(model, image, notes))
    shown = np.concatenate([image[None], edited])
    if predictor is not None:
        ages = predictor.predict(np.clip(shown, 0, 1))
        report["predicted_age_slice_then_edits"] = [float(v) for v in ages]
    if predictor is not None or notes:
        report["notes"] = notes
    changes = np.clip(0.5 + (shown - image), 0, 1)  # around mid grey
    pictures = [_picture(one, contract) for one in (*shown, *changes)]
    with files.replacing_folder(out) as part:
        for name, one in zip(["same", *change.wanted], edited, strict=True):
            if contract is not None and index is None:
                write_image(part / f"edited_{covariate}_{name}.nii.gz", volume_nifti(one, contract))
            else:
                files.write_png(part / f"edited_{covariate}_{name}.png", to_uint8(one[..., 0]))
        files.write_png(part / "grid.png", picture_grid.tile(np.stack(pictures), len(shown)))
        if contract is not None:
            contract.save(part)
        files.write_json(part / "audit.json", report)
    return report


def _picture(image: Float[np.ndarray, "*spatial c"], contract: Contract | None) -> Float[np.ndarray, "rows cols"]:
    """A slice as it is, a volume in three planes."""
    return image[..., 0] if image.ndim == 3 or contract is None else volume_picture(image, contract)
