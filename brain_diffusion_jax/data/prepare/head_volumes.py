"""Ventricular and brain volume of skull-stripped T1 volumes in MNI space, without a segmentation network.

The lateral ventricles are the dark voxels in a region that holds fluid in many old people; the region is fitted once,
on training people, and kept. The brain's volume is the fraction of a template head that is tissue. Head size was
removed by the registration, hence the unit "MNI-scaled mm3". Everything counts voxels of the stored grid, so that real
and generated volumes are measured by the same instrument; numbers of two grids, or of two regions, do not compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.prepare.nifti import Affine
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import full_scale, to_uint8, to_unit

# What is measured, as `Schema.from_json` reads it; a config may declare the same names with other domains.
NAMES = VENTRICLES, BRAIN = "ventricles", "brain"
COVARIATES: tuple[Mapping[str, Any], ...] = (
    {"name": VENTRICLES, "unit": "MNI-scaled mm3", "low": 1_000.0, "high": 70_000.0},
    {"name": BRAIN, "unit": "fraction", "low": 0.6, "high": 0.9},
)
FILE_NAME = "region.npz"
OFTEN = 0.3  # a voxel of the region is fluid in more than this fraction of the older people
HEAD = 0.5  # a voxel of the template head is not background in more than this fraction of all
# The box in mm (x, y, z) that the region may not leave, and one point in the body of each lateral ventricle.
_BOX_MM = ((-40.0, 40.0), (-60.0, 40.0), (-18.0, 40.0))
_SEEDS_MM = ((12.0, -10.0, 22.0), (-12.0, -10.0, 22.0))
_FEWEST_OLDER = 5


@dataclass(frozen=True)
class MeasureSpec:
    """Section prepare.measure. volumes: measure `ventricles` and `brain`. region: shards whose region is taken.

    covariate, above: whose scans the ventricles are looked for in, in the unit of the covariate. most: scans that the
    region is fitted on, at most, evenly taken from the training people's.
    """

    volumes: bool = False
    region: str = ""
    covariate: str = "age"
    above: float = 60.0
    most: int = 1000

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InputError("prepare.measure", "most", self.most, "at least 1 scan")


@dataclass(frozen=True)
class Region:
    """ventricles, head: masks [x, y, z]; affine: of their voxels, RAS mm; unit pixels that split tissue from fluid:

    fluid_below: what is darker is fluid; fluid, grey: mean of fluid in the region, median of grey matter.
    """

    ventricles: Bool[np.ndarray, "x y z"]
    head: Bool[np.ndarray, "x y z"]
    affine: Affine
    fluid_below: float
    fluid: float
    grey: float

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def digest(self) -> str:
        """Names the region: another mask, grid or threshold is another digest."""
        found = hashlib.sha256(str(self.ventricles.shape).encode())
        for mask in (self.ventricles, self.head):
            found.update(np.packbits(mask).tobytes())
        numbers = [*self.affine.ravel(), self.fluid_below, self.fluid, self.grey]
        found.update(np.round(np.asarray(numbers, np.float64), 6).tobytes())
        return f"sha256:{found.hexdigest()}"

    def save(self, folder: str | Path) -> Path:
        """Write region.npz into `folder`; returns its path."""
        path = Path(folder) / FILE_NAME
        files.write_npz(path, **{name: np.asarray(value) for name, value in vars(self).items()})
        return path


def load_region(folder: str | Path, digest: str = "") -> Region:
    """The region that lies in a folder of shards; InputError where it is missing, damaged or not that of `digest`."""
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise InputError(path, "region", "no such file", "shards of `brain-diffusion prepare --measure volumes`")
    try:
        with np.load(path, allow_pickle=False) as items:
            ventricles, head, affine = (items[name] for name in ("ventricles", "head", "affine"))
            region = Region(ventricles, head, affine, *(float(items[n]) for n in ("fluid_below", "fluid", "grey")))
        sound = ventricles.dtype == head.dtype == bool and ventricles.shape == head.shape and affine.shape == (4, 4)
    except Exception as error:  # OSError, BadZipFile, KeyError, ValueError
        raise InputError(path, "region", f"{type(error).__name__}: {error}", "a whole file") from error
    if not sound or ventricles.ndim != 3:
        raise InputError(path, "region", (ventricles.dtype, ventricles.shape, head.shape), "two masks of one 3D shape")
    if digest and region.digest != digest:
        raise InputError(path, "region", region.digest, f"{digest}, as the contract says: another region was used")
    return region


def region_of(contract: Contract, folder: str | Path) -> Region | None:
    """The region that volumes of a contract were measured in, of their shards; None where nothing was measured."""
    return load_region(folder, str(contract.measured["region"])) if contract.measured else None


def two_thresholds(counts: Int[np.ndarray, " bins"]) -> tuple[int, int]:
    """Last bins of the lower two of three classes: multi-level Otsu, the exact maximum (Liao et al. 2001)."""
    weights = np.cumsum(np.asarray(counts, np.float64))
    moments = np.cumsum(np.asarray(counts, np.float64) * np.arange(len(counts)))
    first, second = np.triu_indices(len(counts) - 1, 1)
    fractions = (weights[first], weights[second] - weights[first], weights[-1] - weights[second])
    sums = (moments[first], moments[second] - moments[first], moments[-1] - moments[second])
    with np.errstate(divide="ignore", invalid="ignore"):
        between = sum(s * s / w for s, w in zip(sums, fractions, strict=True))
    between = np.where(np.min(fractions, axis=0) > 0, between, -1.0)
    best = int(np.argmax(between))
    if between[best] < 0:
        raise InputError("region", "grey values", f"{np.count_nonzero(counts)} different", "three classes of tissue")
    return int(first[best]), int(second[best])


def fit_region(
    every: Callable[[], Iterable[Shaped[np.ndarray, "x y z"]]],
    older: Callable[[], Iterable[Shaped[np.ndarray, "x y z"]]],
    affine: Affine,
    where: object = "region",
) -> Region:
    """The region of training scans as stored (uint8, or unit floats), one in memory at a time.

    every: all of them; older: those of people with wide ventricles. Fluid is what lies below the lower of two Otsu
    thresholds of all voxels above 0; the ventricles are the parts of {fluid in more than 30 % of the older} that hold
    a point in the body of the lateral ventricles, cut to a box around them.
    """
    from scipy import ndimage

    counts, present, scans = np.zeros(256, np.int64), np.zeros(0), 0
    for volume in every():
        counts += np.bincount(to_uint8(volume).ravel(), minlength=256)
        present = (volume > 0).astype(np.int32) if not scans else present + (volume > 0)
        scans += 1
    if not scans:
        raise InputError(where, "scans", "none", "scans of training people")
    counts[0] = 0
    low, high = (int(level) + 1 for level in two_thresholds(counts[1:]))
    grey = low + 1 + int(np.searchsorted(np.cumsum(counts[low + 1 : high + 1]), counts[low + 1 : high + 1].sum() / 2))
    fluid_below = (low + 0.5) / full_scale("uint8")
    head = ndimage.binary_fill_holes(present > HEAD * scans)

    fluid, total, elders = np.zeros(head.shape, np.int32), np.zeros(head.shape, np.float32), 0
    for volume in older():
        unit = to_unit(volume)
        dark = unit < fluid_below
        fluid += dark
        total += np.where(dark, unit, 0)
        elders += 1
    if elders < _FEWEST_OLDER:
        found = f"{elders} training scans of older people"
        raise InputError(where, "scans", found, f"at least {_FEWEST_OLDER}: prepare.measure.above, covariate or region")
    ventricles = _around_seeds((fluid > OFTEN * elders) & head, affine, where)
    mean = float(total[ventricles].sum(dtype=np.float64) / fluid[ventricles].sum())
    return Region(ventricles, head, np.asarray(affine, np.float64), fluid_below, mean, grey / full_scale("uint8"))


def _around_seeds(mask: Bool[np.ndarray, "x y z"], affine: Affine, where: object) -> Bool[np.ndarray, "x y z"]:
    """The components of the mask, within the box, that hold a seed."""
    from scipy import ndimage

    inside = np.ones((), bool)
    for axis, (low, high) in enumerate(_BOX_MM):  # the grid is axis-aligned, as all fixed ones
        place = affine[axis, axis] * np.arange(mask.shape[axis]) + affine[axis, 3]
        within = (low < place) & (place < high)
        inside = inside & within.reshape([-1 if a == axis else 1 for a in range(3)])
    labels, _ = ndimage.label(mask & inside)
    voxels = np.round((np.array(_SEEDS_MM) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    beyond = ((voxels < 0) | (voxels >= mask.shape)).any(1)
    found = {int(labels[tuple(voxel)]) for voxel, out in zip(voxels, beyond, strict=True) if not out} - {0}
    if not found:
        raise InputError(
            where,
            "ventricles",
            f"no fluid at {_SEEDS_MM} mm in more than {100 * OFTEN:g} % of the older people's scans",
            "skull-stripped scans registered to MNI; or measured conditions from columns of your table",
        )
    return np.isin(labels, list(found))


def measure(
    volumes: Shaped[np.ndarray, "n x y z *one"],
    region: Region,
    names: Sequence[str] = NAMES,
    *,
    affine: Affine | None = None,
    soft: bool = False,
) -> dict[str, Float[np.ndarray, " n"]]:
    """{"ventricles": MNI-scaled mm3, "brain": fraction of the template head} of volumes [n, x, y, z] or [.., 1].

    volumes: uint8, or unit floats, on the region's grid (`affine` is compared where it is given). soft: every voxel
    counts by how dark it is between grey matter and fluid, clip((grey - v) / (grey - fluid), 0, 1), instead of 0 or 1.
    names: those that are measured. Raises InputError for another grid and for NaN.
    """
    images = volumes[..., 0] if volumes.ndim == 5 else volumes
    if images.shape[1:] != region.head.shape or (volumes.ndim == 5 and volumes.shape[-1] != 1):
        raise InputError("measure", "volumes", volumes.shape, f"[n, {', '.join(map(str, region.head.shape))}, 1]")
    if affine is not None and not np.allclose(affine, region.affine, atol=1e-3):
        raise InputError("measure", "affine", np.round(affine[:3], 3).tolist(), region.affine[:3].tolist())
    measures = {VENTRICLES: lambda: _ventricles(images, region, soft), BRAIN: lambda: _brain(images, region)}
    return {name: measures[name]() for name in names}


def _inside(images: Shaped[np.ndarray, "n x y z"], mask: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "n voxels"]:
    unit = to_unit(images[:, mask])
    if not np.isfinite(unit).all():
        raise InputError("measure", "volumes", "NaN or infinity", "finite unit pixels")
    return unit


def _ventricles(images: Shaped[np.ndarray, "n x y z"], region: Region, soft: bool) -> Float[np.ndarray, " n"]:
    inner = _inside(images, region.ventricles)
    softly = np.clip((region.grey - inner) / (region.grey - region.fluid), 0, 1)
    dark = softly if soft else inner < region.fluid_below
    return np.asarray(dark.sum(1, dtype=np.float64) * region.voxel_mm3)


def _brain(images: Shaped[np.ndarray, "n x y z"], region: Region) -> Float[np.ndarray, " n"]:
    whole = _inside(images, region.head)
    return np.asarray((whole >= region.fluid_below).mean(1, dtype=np.float64))
