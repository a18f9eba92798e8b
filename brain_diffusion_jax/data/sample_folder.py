"""A folder of synthetic images: PNGs, NIfTI at their place in the world, a manifest, the contract.

A slice or image is its PNG, beside which slices of a known grid lie as NIfTI. A volume is its NIfTI; its PNG
shows three planes. The folder may be a BIDS data set as well, which then holds the NIfTIs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from jaxtyping import Float, Shaped

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import FILE_NAME, Contract
from brain_diffusion_jax.covariates import Covariate
from brain_diffusion_jax.data import bids
from brain_diffusion_jax.data.condition_draw import DrawnRow
from brain_diffusion_jax.data.picture_grid import CUTS_MM, displayed, three_planes, voxel_at
from brain_diffusion_jax.data.prepare.nifti import write_image
from brain_diffusion_jax.data.prepare.slicing import AXES, Fit, from_display
from brain_diffusion_jax.data.sources.cohort_table import Unusable, parse_value
from brain_diffusion_jax.data.sources.picture_file import read_colour, read_grey
from brain_diffusion_jax.data.table import Row, read_table, table_text
from brain_diffusion_jax.errors import InputError, refusing
from brain_diffusion_jax.pixels import to_uint8, to_unit

SETTINGS = "sampling.json"
MANIFEST = "manifest.csv"
LOCK = "lock"  # of the call that writes
BESIDE = (SETTINGS, MANIFEST, LOCK, FILE_NAME, "grid.png", "pictures")  # what BIDS does not know
_FIXED = ("file", "index", "seed", "guidance_scale")


def slice_index(contract: Contract, condition: Mapping[str, Any]) -> int | None:
    """The slice a condition asks for on the contract's grid; None where it names none that exists."""
    indices, axis = contract.slices.indices, contract.slices.axis
    if contract.grid.shape is None or axis is None or not indices:
        return None
    wanted = condition.get("slice", indices[0] if len(indices) == 1 else None)
    size = contract.grid.shape[AXES[axis]]
    whole = wanted is not None and float(wanted) == int(float(wanted)) and 0 <= float(wanted) < size
    return int(float(wanted)) if whole else None


def in_source_unit(image: Float[np.ndarray, "*shape"], contract: Contract) -> Float[np.ndarray, "*shape"]:
    """[0, 1] back in the unit of the scans where the rule was fixed; other rules differ from scan to scan."""
    rule = contract.intensity
    if rule.rule != "fixed" or rule.low is None or rule.high is None:
        return image
    return image * (rule.high - rule.low) + rule.low


def slice_nifti(image: Float[np.ndarray, "r c"], contract: Contract, index: int) -> nibabel.Nifti1Image:
    """A displayed image as a one-slice volume at its true position (RAS, mm)."""
    dimension = AXES[str(contract.slices.axis)]
    affine = np.array(contract.grid.affine, float)
    kept = [n for d, n in enumerate(contract.grid.shape or ()) if d != dimension]
    native = Fit.of(contract.fit).unapply(image[None], (kept[1], kept[0]))[0]
    offset = np.zeros(4)
    offset[dimension] = index
    affine[:, 3] += affine @ offset
    plane = np.expand_dims(from_display(in_source_unit(native, contract)), dimension)
    return _synthetic(plane, affine)


def volume_nifti(volume: Float[np.ndarray, "x y z c"], contract: Contract) -> nibabel.Nifti1Image:
    """A volume on the contract's grid (RAS, mm); several channels are a fourth axis."""
    data = volume[..., 0] if volume.shape[-1] == 1 else volume
    affine = np.diag([*(contract.spacing_mm or (1.0, 1.0, 1.0)), 1.0])
    if contract.grid.affine is not None:
        affine = np.array(contract.grid.affine, float)
    return _synthetic(in_source_unit(data, contract), affine)


def volume_picture(volume: Shaped[np.ndarray, "x y z c"], contract: Contract) -> Shaped[np.ndarray, "rows cols *rgb"]:
    """A volume in three planes; in MNI space through the lateral ventricles (`picture_grid.CUTS_MM`)."""
    at = None
    if contract.grid.name == "mni" and contract.grid.affine is not None:
        at = voxel_at(volume.shape, np.array(contract.grid.affine), CUTS_MM)
    shown = three_planes(np.moveaxis(volume, -1, 0), at)
    return np.moveaxis(shown, 0, -1) if len(shown) == 3 else shown[0]


def _synthetic(data: np.ndarray, affine: np.ndarray) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(np.ascontiguousarray(data, np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"synthetic, brain-diffusion-jax"
    return image


def require_usable(path: str | Path, *, resume: bool = False) -> None:
    """Raise InputError where `path` holds what is not of `sample`, or, without `resume`, images already."""
    path = Path(path)
    if (path / SETTINGS).exists():
        if not resume:
            raise InputError(path, "output folder", "pictures of an earlier call", "a new folder, or --resume")
    elif path.exists() and (not path.is_dir() or any(item.name != LOCK for item in path.iterdir())):
        raise InputError(path, "output folder", "other files", "a new or empty folder")


def _name(index: int) -> str:
    return f"pictures/{index:06d}.png"


def _nifti_path(folder: Path, image: str) -> Path:
    """Where the NIfTI of an image lies, of a BIDS data set too."""
    index = Path(image).stem
    found = sorted(folder.glob(f"sub-{index}/anat/*.nii.gz")) if index.isdecimal() else []
    return found[0] if found else folder / "nifti" / f"{index}.nii.gz"


class SampleFolder:
    """Opens a new folder, or goes on with an interrupted one of the same settings.

    Raises InputError as `require_usable` does, and where the settings are others. Its caller sees to it that no
    other process writes there.
    """

    def __init__(
        self,
        path: str | Path,
        settings: Mapping[str, Any],
        contract: Contract | None,
        *,
        resume: bool = False,
        dataset: bids.Dataset | None = None,
    ) -> None:
        self.path, self.contract, self.dataset = Path(path), contract, dataset
        require_usable(self.path, resume=resume)
        settings = json.loads(json.dumps(settings))
        file = self.path / SETTINGS
        if file.exists():
            old = files.read_json(file, "settings")
            if old != settings:
                keys = sorted(k for k in {*old, *settings} if old.get(k) != settings.get(k))
                found = ", ".join(f"{k}={settings.get(k)!r:.80} (before: {old.get(k)!r:.80})" for k in keys)
                raise InputError(file, "settings", found, "the settings it was begun with")
        else:
            files.write_json(file, settings)
        (self.path / "pictures").mkdir(exist_ok=True)
        if contract is not None:
            contract.save(self.path)
        self.done = self._finished()

    def _finished(self) -> int:
        """How many images stand whole, from the first on; other lines of the manifest are cut off.

        Cut off are a torn line, the second line of an image that was written twice, and lines after a gap.
        """
        manifest = self.path / MANIFEST
        if not manifest.exists():
            return 0
        *lines, torn = files.read_text(manifest, "manifest").split("\n")
        if lines and not lines[0].startswith(",".join(_FIXED)):
            raise InputError(manifest, "header", lines[0][:80], f"{','.join(_FIXED)},..., as `sample` wrote it")
        by_index = {index: line for line in lines[1:] for index in line.split(",")[1:2]}
        whole: list[str] = []
        while (index := str(len(whole))) in by_index and (self.path / _name(len(whole))).is_file():
            whole.append(by_index[index])
        if torn or whole != lines[1:]:
            files.write_text(manifest, "\n".join([lines[0], *whole, ""]) if whole else "")
        return len(whole)

    def write(
        self,
        first: int,
        images: Float[np.ndarray, "n *spatial c"],
        conditions: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        guidance_scale: float | str | None,
        columns: Sequence[str],
        nifti: bool = True,
    ) -> None:
        """Write images first, first + 1 ..., then their manifest lines: a line stands for a whole image.

        guidance_scale: None of a model that has none, a word where there is one a covariate. nifti: of slices;
        volumes are always written so. Raises InputError for what neither can hold: slices of 2, 4 or more channels.
        """
        flat, channels = images.ndim == 4, images.shape[-1]
        if (flat and channels not in (1, 3)) or (not flat and self.contract is None):
            raise InputError(self.path, "images", images.shape[1:], "1 or 3 channels, or volumes and their contract")
        rows, scale = [], "" if guidance_scale is None else guidance_scale
        stored = to_uint8(images)  # refuses the batch where an image is not finite
        if flat or self.contract is None:
            shown = displayed(stored)
        else:
            shown = np.stack([volume_picture(volume, self.contract) for volume in stored])
        for index, (image, condition) in enumerate(zip(images, conditions, strict=True), first):
            name = _name(index)
            files.write_png(self.path / name, shown[index - first])
            if self.contract is not None and (made := self._nifti(image, condition, nifti)) is not None:
                if self.dataset is not None:
                    self.dataset.write_sidecar(DrawnRow(index, condition, seed))
                write_image(self._nifti_place(name, index), made)
            rows.append([name, index, seed, scale, *(condition.get(c, "") for c in columns)])
        manifest = self.path / MANIFEST
        new = not manifest.exists() or not manifest.stat().st_size
        with files.open_to_append(manifest) as stream:
            stream.write(table_text([[*_FIXED, *columns], *rows] if new else rows))
        self.done = first + len(rows)

    def _nifti_place(self, name: str, index: int) -> Path:
        return _nifti_path(self.path, name) if self.dataset is None else self.dataset.image(index)

    def _nifti(
        self, image: Float[np.ndarray, "*spatial c"], condition: Mapping[str, Any], slices: bool
    ) -> nibabel.Nifti1Image | None:
        """The NIfTI of an image; None of one that has no place in a volume."""
        assert self.contract is not None
        if image.ndim == 4:
            return volume_nifti(image, self.contract)
        place = slice_index(self.contract, condition) if slices and image.shape[-1] == 1 else None
        return None if place is None else slice_nifti(image[..., 0], self.contract, place)


def read_pictures(folder: str | Path) -> tuple[Float[np.ndarray, "n *spatial c"], list[dict[str, str]]]:
    """Images [n, *spatial, channels] in [0, 1] and manifest rows of a sample folder, in its order.

    Raises InputError with the line for an image that cannot be read, or a condition that the contract does not know.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    header, rows = read_table(manifest, "manifest", "a folder written by `brain-diffusion sample`")
    if "file" not in header:
        raise InputError(manifest, "header", header, "a column 'file'")
    contract = Contract.load(folder) if (folder / FILE_NAME).exists() else None
    images = [_read_image(folder, row, contract) for row in rows]
    for row, image in zip(rows, images, strict=True):
        if image.shape != images[0].shape:
            found = f"{row.get('file')} with {image.shape[:-1]} pixels"
            expected = f"{images[0].shape[:-1]}, as in line {rows[0].line}"
            raise InputError(manifest, f"line {row.line}", found, expected)
    known = [c for c in (contract.schema.covariates if contract else ()) if c.name in header]
    return np.stack(images), [{**row.cells, **_condition(manifest, row, known)} for row in rows]


def _condition(manifest: Path, row: Row, known: Sequence[Covariate]) -> dict[str, str]:
    """The row's words as the schema spells them; its numbers as they stand there."""
    found = {}
    for covariate in known:
        if cell := row.get(covariate.name):
            try:
                found[covariate.name] = str(parse_value(cell, covariate, {}))
            except Unusable as error:
                where = f"line {row.line}, {covariate.name}"
                raise InputError(manifest, where, error, "a value as `brain-diffusion sample` wrote it") from None
    return found


def _read_image(folder: Path, row: Row, contract: Contract | None) -> Float[np.ndarray, "*spatial c"]:
    """The image that a row of the manifest names, in [0, 1]."""
    try:
        if contract is not None and contract.kind == "volumes":
            return _read_volume(_nifti_path(folder, row.get("file")), contract)
        if contract is not None and contract.channels == 3:
            return to_unit(read_colour(folder / row.get("file")))
        return to_unit(read_grey(folder / row.get("file")))[..., None]
    except InputError as error:
        found = f"{row.get('file')!r}: {error.field} {error.found}"
        raise InputError(folder / MANIFEST, f"line {row.line}", found, error.expected) from None


def _read_volume(path: Path, contract: Contract) -> Float[np.ndarray, "x y z c"]:
    """A volume as `volume_nifti` made it, back in [0, 1]."""
    with refusing(path, "volume", "a volume that `sample` wrote"):
        data = np.asarray(nibabel.load(path).dataobj, np.float32)  # type: ignore[attr-defined]
    if contract.channels == 1:
        data = data[..., None]
    if data.shape != contract.shape:
        raise InputError(path, "shape", data.shape, contract.shape)
    low, high = in_source_unit(np.array([0.0, 1.0], np.float32), contract)
    return (data - low) / (high - low)
