"""From one scan to its stored images: read, resample, window, cut, fit. One scan in memory.

The same functions run in this process, in a pool and in Beam workers; nothing here imports jax.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brain_diffusion_jax.data.checks import scan_checks
from brain_diffusion_jax.data.prepare import intensity as intensity_rules
from brain_diffusion_jax.data.prepare import nifti, nifti_file
from brain_diffusion_jax.data.prepare.head_volumes import MeasureSpec
from brain_diffusion_jax.data.prepare.intensity import IntensityRule, Window
from brain_diffusion_jax.data.prepare.nifti import Grid, Volume
from brain_diffusion_jax.data.prepare.slicing import Fit, Slicing, pictures_from_volume
from brain_diffusion_jax.data.prepare.volume_box import VolumeBox
from brain_diffusion_jax.errors import InputError, require_one_of

# Part of the name of every cached part: raise it when the meaning of stored pixels changes.
PIPELINE_VERSION = 1
KINDS = ("slices", "volumes")
_SECTIONS: dict[str, Any] = {
    "intensity": IntensityRule,
    "slices": Slicing,
    "fit": Fit,
    "volume": VolumeBox,
    "measure": MeasureSpec,
}


@dataclass(frozen=True)
class Preparation:
    """From scans to what is stored; `Preparation(**config.prepare)`.

    kind: slices (axis, slices and fit say which) or volumes (volume: keys of VolumeBox). grid: "mni" (the
    MNI box at spacing_mm), "native" (each scan's own box, resampled to spacing_mm unless that is ()), or
    (x, y, z) voxels of spacing_mm centred where the MNI box is. intensity, slices, fit: keys of IntensityRule,
    Slicing and Fit. bad_scans: refuse or drop scans that cannot be read or lie outside the grid. measure: keys
    of MeasureSpec, covariates measured on volumes.
    """

    kind: str = "slices"
    spacing_mm: tuple[float, ...] = (2.0, 2.0, 2.0)
    grid: str | tuple[int, ...] = "mni"
    intensity: Mapping[str, Any] = field(default_factory=dict, metadata={"config": IntensityRule})
    axis: str = "axial"
    slices: Mapping[str, Any] = field(default_factory=dict, metadata={"config": Slicing})
    fit: Mapping[str, Any] = field(default_factory=dict, metadata={"config": Fit})
    volume: Mapping[str, Any] = field(default_factory=dict, metadata={"config": VolumeBox})
    measure: Mapping[str, Any] = field(default_factory=dict, metadata={"config": MeasureSpec})
    bad_scans: str = "refuse"

    def __post_init__(self) -> None:
        require_one_of(self.kind, KINDS, "prepare", "kind")
        spacing = tuple(float(v) for v in self.spacing_mm or ())
        low, high = nifti.VOXEL_MM
        if len(spacing) not in (0, 3) or any(not low <= v <= high for v in spacing):
            raise InputError("prepare", "spacing_mm", self.spacing_mm, f"three lengths of {low:g} to {high:g} mm")
        if not spacing and self.grid != "native":
            raise InputError("prepare", "spacing_mm", "()", "three lengths in mm, or prepare.grid=native")
        grid = self.grid
        if grid not in ("mni", "native") and (isinstance(grid, str) or len(grid) != 3 or min(grid) < 2):
            raise InputError("prepare", "grid", self.grid, "mni, native or (x, y, z) voxels")
        require_one_of(self.bad_scans, ("refuse", "drop"), "prepare", "bad_scans")
        object.__setattr__(self, "spacing_mm", spacing)
        for name, kind in _SECTIONS.items():
            keys = dict(getattr(self, name))
            unknown = set(keys) - set(kind.__dataclass_fields__)
            if unknown:
                raise InputError(f"prepare.{name}", "keys", sorted(unknown), sorted(kind.__dataclass_fields__))
            object.__setattr__(self, name, keys)
        # Refuse wrong values here, not in a worker.
        _ = (self.rule, self.slicing, self.fitting, self.box, self.measured)
        if (shared := self.fixed_grid()) is not None:
            nifti_file.require_size(shared.shape, "prepare", "spacing_mm, grid", "wider spacing_mm")
        if self.kind == "volumes":
            self._require_volumes(shared)
        elif self.measured.volumes:
            raise InputError("prepare.measure", "volumes", f"prepare.kind={self.kind}", "prepare.kind=volumes")

    def _require_volumes(self, grid: Grid | None) -> None:
        box = self.box
        if grid is not None:
            box.stored(grid)
        elif not box.size or box.offset:
            found = f"{box.size} at {box.offset}"
            raise InputError("prepare.volume", "size, offset", found, "a size and no offset with prepare.grid=native")
        elif box.spacing_mm and not self.spacing_mm:
            raise InputError("prepare", "spacing_mm", "()", "three lengths in mm with prepare.volume.spacing_mm")

    @property
    def rule(self) -> IntensityRule:
        """How a scan's window of intensities is found."""
        return IntensityRule(**self.intensity)

    @property
    def slicing(self) -> Slicing:
        """Which slices are cut."""
        return Slicing(**{"axis": self.axis, **self.slices})

    @property
    def fitting(self) -> Fit:
        """How a slice becomes an image of the wanted size."""
        return Fit(**self.fit)

    @property
    def box(self) -> VolumeBox:
        """Which box of the grid a volume is."""
        return VolumeBox(**self.volume)

    @property
    def measured(self) -> MeasureSpec:
        """What is measured on volumes, for conditions."""
        return MeasureSpec(**self.measure)

    @property
    def drop_bad(self) -> bool:
        """Whether scans that cannot be prepared are left out instead of refused."""
        return self.bad_scans == "drop"

    @property
    def expected(self) -> str:
        """What a file is."""
        return "a .nii or .nii.gz file"

    def fixed_grid(self) -> Grid | None:
        """The grid that all scans share, before the box of a volume is cut; None for native."""
        if self.grid == "native":
            return None
        box_mm = np.array(nifti.MNI_2MM.shape) * 2.0
        spacing = np.array(self.spacing_mm)
        if self.grid == "mni":
            # 91 voxels of 2 mm and 182 of 1 mm are the customary sizes of one and the same box.
            shape = np.ceil(box_mm / spacing - 1e-6).astype(int)
            return nifti.box_grid(tuple(int(n) for n in shape), self.spacing_mm, nifti.MNI_ORIGIN_MM)
        shape = np.array(self.grid)
        middle = np.array(nifti.MNI_ORIGIN_MM) + (np.array(nifti.MNI_2MM.shape) - 1.0)
        origin = middle - spacing * (shape - 1) / 2
        return nifti.box_grid(tuple(int(n) for n in shape), self.spacing_mm, tuple(origin))

    def to_json(self) -> dict[str, Any]:
        """All that decides stored values, and which scans are refused; `bad_scans` and `measure` do not."""
        own = ("kind", "volume") if self.kind == "volumes" else ("axis", "slices", "fit")
        keys = ("spacing_mm", "grid", "intensity", *own)
        return json.loads(json.dumps({key: getattr(self, key) for key in keys}, default=list))


class PreparedScan(NamedTuple):
    """pictures: [n, rows, cols] as stored; indices: slice of each; native_size: before the fit."""

    pictures: np.ndarray
    indices: list[int]
    positions_mm: list[float]
    window: Window
    native_size: tuple[int, int]
    warnings: list[str]


def _native_grid(volume: Volume, spacing_mm: tuple[float, ...]) -> Grid:
    """The scan's own box at another spacing, along the scan's own axes, outer faces in place."""
    own = np.array(volume.spacing_mm)
    spacing = np.array(spacing_mm or own)
    shape = tuple(np.maximum(2, np.round(np.array(volume.data.shape) * own / spacing)).astype(int).tolist())
    scale = spacing / own
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] * scale
    first = (scale - 1) / 2  # centre of the new first voxel, in old voxels
    affine[:3, 3] = volume.affine[:3, :3] @ first + volume.affine[:3, 3]
    nifti_file.require_size(shape, volume.path, "prepare.grid=native", "wider prepare.spacing_mm")
    return Grid(shape, affine)


def on_grid(volume: Volume, preparation: Preparation) -> Volume:
    """The volume on the grid that the preparation asks for."""
    grid = preparation.fixed_grid()
    if grid is not None:
        return nifti.resample(volume, *grid)
    own = np.array(volume.spacing_mm)
    if not preparation.spacing_mm or np.allclose(own, preparation.spacing_mm, atol=1e-3):
        return volume
    return nifti.resample(volume, *_native_grid(volume, preparation.spacing_mm))


class PreparedVolume(NamedTuple):
    """data: [x, y, z] as stored; affine: of its voxels, RAS mm; window, warnings: as of PreparedScan."""

    data: np.ndarray
    affine: nifti.Affine
    window: Window
    warnings: list[str]


def _read(path: str | Path, preparation: Preparation) -> tuple[Volume, Window, list[str]]:
    """(the scan as it is, its window of intensities, notes)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volume = nifti.read_volume(path)
        rule = preparation.rule
        # Before resampling: the scan's own voxels say what its tissue looks like.
        window = intensity_rules.find_window(volume.data, rule, path)
        notes = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    if rule.rule == "fixed" and (note := intensity_rules.check_fixed_window(volume.data, window, path)):
        notes.append(note)
    return volume, window, notes


def prepare_volume(path: str | Path, preparation: Preparation) -> PreparedScan:
    """All stored images of one file; raises InputError naming it."""
    volume, window, notes = _read(path, preparation)
    volume = on_grid(volume, preparation)
    slicing = preparation.slicing
    pictures, indices, native = pictures_from_volume(volume, slicing, preparation.fitting)
    # One by one, since the steps between would hold all slices of a large scan several times.
    stored = np.stack([intensity_rules.to_stored(picture, window, preparation.rule.dtype) for picture in pictures])
    if not stored.any():
        raise InputError(path, "pictures", "all slices empty", f"a head in the {slicing.axis} slices {indices[:3]}...")
    return PreparedScan(stored, indices, slicing.positions_mm(indices, volume.affine), window, native, notes)


def prepare_whole(path: str | Path, preparation: Preparation) -> PreparedVolume:
    """One file as a stored volume; raises InputError naming it, for a skull that is on too (`VolumeBox.refuse`).

    The window is applied before the box is averaged: a stored voxel is the mean of what its part of the box stores.
    """
    volume, window, notes = _read(path, preparation)
    box = preparation.box
    if box.refuse:
        findings = scan_checks.check_brain(volume)
        scan_checks.refuse(path, [f for f in findings if f.certain and f.kind in box.refuse])
        notes += scan_checks.refuse(path, findings, scan_checks.KINDS)
    volume = on_grid(volume, preparation)
    unit = intensity_rules.to_stored(volume.data, window, "float32")
    cut = box.cut(Volume(unit, volume.affine, volume.path))
    if not cut.data.any():
        raise InputError(path, "volume", "nothing above 0 in the box", "a head in it")
    return PreparedVolume(intensity_rules.as_stored(cut.data, preparation.rule.dtype), cut.affine, window, notes)
