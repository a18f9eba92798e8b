"""NIfTI volumes in RAS orientation: checked reading, resampling, writing.

Axes of every array are [x, y, z], x growing to the person's right, y to the front, z upwards.
"""

from __future__ import annotations

import gzip
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax import files
from brain_diffusion_jax.data.prepare import nifti_file
from brain_diffusion_jax.errors import InputError

Affine = Float[np.ndarray, "4 4"]
# Interpolation in somebody's pipeline leaves faint negative rims; more than this fraction of the
# total absolute intensity is a scan in another unit (z-scores, CT) and no T1 magnitude image.
NEGATIVE_FRACTION = 0.01
# Edges of a voxel in mm that a scan of a head can have; beyond them the header's unit is wrong.
VOXEL_MM = (0.1, 50.0)
_UNITS = {0: ("unknown", 1.0), 1: ("m", 1e3), 2: ("mm", 1.0), 3: ("micron", 1e-3)}  # the spatial part of xyzt_units
# Below this fraction of its bright voxels inside the grid, a scan is called outside it.
MIN_OVERLAP = 0.5


@dataclass(frozen=True)
class Volume:
    """data: float32 [x, y, z] in the scan's own unit; affine: voxel -> world mm, RAS."""

    data: Float[np.ndarray, "x y z"]
    affine: Affine
    path: Path = field(default_factory=Path)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Edges of a voxel along x, y, z."""
        return voxel_sizes(self.affine)


class Grid(NamedTuple):
    """A target sampling of the world: shape [x, y, z] and RAS affine in mm."""

    shape: tuple[int, ...]
    affine: Affine


def box_grid(shape: tuple[int, ...], spacing_mm: tuple[float, ...], origin_mm: tuple[float, ...]) -> Grid:
    """An axis-aligned RAS grid whose voxel (0, 0, 0) has its centre at `origin_mm`."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    return Grid(tuple(shape), affine)


MNI_ORIGIN_MM = (-90.0, -126.0, -72.0)
MNI_2MM = box_grid((91, 109, 91), (2.0, 2.0, 2.0), MNI_ORIGIN_MM)
MNI_1MM = box_grid((182, 218, 182), (1.0, 1.0, 1.0), MNI_ORIGIN_MM)


def voxel_sizes(affine: Affine) -> tuple[float, ...]:
    """Edge lengths of a voxel in mm along the array's axes."""
    return tuple(float(v) for v in np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum(0)))


def _checked_affine(path: Path, header: Any) -> Affine:
    """Voxel -> world in mm, whatever the unit of the header."""
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        expected = "a header that says how voxels lie in the head; set it with the tool that made the file"
        raise InputError(path, "affine", "sform_code 0 and qform_code 0 (orientation unknown)", expected)
    unit = int(header["xyzt_units"]) % 8
    if unit not in _UNITS:
        raise InputError(path, "xyzt_units", unit, "0 (unknown, taken as mm), 1 (m), 2 (mm) or 3 (micron)")
    name, factor = _UNITS[unit]
    affine = np.array(header.get_best_affine(), np.float64)
    affine[:3] *= factor
    # A sheared or collapsed matrix has almost no volume for the lengths of its columns.
    lengths = np.array(voxel_sizes(affine))
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= 1e-3 * lengths.prod():
        raise InputError(path, "affine", np.round(affine[:3], 4).tolist(), "an invertible voxel-to-world matrix")
    if lengths.min() < VOXEL_MM[0] or lengths.max() > VOXEL_MM[1]:
        found = f"{' x '.join(f'{length:.3g}' for length in lengths)} mm (by xyzt_units {name})"
        expected = f"{VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm; are pixdim, the affine and xyzt_units right?"
        raise InputError(path, "voxel size", found, expected)
    return affine


def read_volume(path: str | Path) -> Volume:
    """The volume in RAS, float32 after scl_slope and scl_inter, one volume's memory.

    Axes are permuted and flipped as the affine says, never interpolated; an oblique scan stays
    oblique in its affine. Faint negative values (at most NEGATIVE_FRACTION of the total) are set to
    0 with a warning. Raises InputError for everything else that is no T1 magnitude volume.
    """
    import nibabel

    path = Path(path)
    head = nifti_file.read_head(path)
    affine = _checked_affine(path, head.header)
    if head.dtype.kind not in "iuf":
        raise InputError(path, "dtype", head.dtype, "integers or floats (one grey value a voxel)")
    orientation = nibabel.io_orientation(affine)
    axes = orientation[:, 0].astype(int)
    # In C order of x, y, z at once: everything later walks these axes.
    data = np.empty([head.shape[axis] for axis in np.argsort(axes)], np.float32)
    as_stored = data.transpose(axes)[tuple(slice(None, None, int(flip)) for flip in orientation[:, 1])]
    nifti_file.read_voxels(path, head, as_stored)
    affine = affine @ nibabel.orientations.inv_ornt_aff(orientation, head.shape)
    _check_values(path, data)
    return Volume(data, affine + 0.0, path)


def _check_values(path: Path, data: np.ndarray) -> None:
    """Refuse what is no magnitude image; faint negative values are set to 0 in place."""
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        nans, infs = int(np.isnan(data).sum()), int(np.isinf(data).sum())
        raise InputError(path, "voxels", f"{nans} NaN and {infs} infinite values", "finite intensities")
    if low == high:
        raise InputError(path, "voxels", f"the constant {low:g}", "a scan with contrast")
    if low < 0:
        negative = float(-data.sum(dtype=np.float64, where=data < 0))
        fraction = negative / (float(data.sum(dtype=np.float64)) + 2 * negative)
        if fraction > NEGATIVE_FRACTION:
            found = f"negative intensities down to {low:g} ({100 * fraction:.1f} % of the total)"
            limit = f"at most {100 * NEGATIVE_FRACTION:g} % from interpolation"
            raise InputError(path, "voxels", found, f"magnitudes >= 0 ({limit}); undo z-scoring or shift it")
        warnings.warn(f"{path}: voxels: found faint negative values down to {low:g}; set to 0", stacklevel=3)
        np.maximum(data, 0, out=data)


def overlap(volume: Volume, grid: Grid, samples: int = 50_000) -> float:
    """Fraction of the scan's bright voxels (above 10 % of the 99th percentile) that lie inside the grid."""
    data = volume.data.ravel()
    step = max(1, data.size // 2_000_000)
    bright = np.flatnonzero(data[::step] > 0.1 * np.percentile(data[::step], 99)) * step
    if bright.size == 0:  # a few bright voxels only: take whatever is not background
        bright = np.flatnonzero(data > data.min())
    bright = bright[:: max(1, bright.size // samples)]
    index = np.stack(np.unravel_index(bright, volume.data.shape))
    to_grid = np.linalg.inv(grid.affine) @ volume.affine
    inside = to_grid[:3, :3] @ index + to_grid[:3, 3:]
    limit = np.array(grid.shape)[:, None] - 0.5
    return float(((inside > -0.5) & (inside < limit)).all(0).mean())


def resample(volume: Volume, shape: tuple[int, ...], affine: Affine, *, min_overlap: float = MIN_OVERLAP) -> Volume:
    """The volume on another grid, trilinear, 0 outside the scan.

    A grid equal to the scan's own is returned untouched. Where the target is coarser, a Gaussian
    of (ratio - 1) / 2 voxels comes first, so that detail does not fold into noise. Raises InputError
    where less than `min_overlap` of the scan's bright voxels lies inside the grid.
    """
    from scipy import ndimage

    grid = Grid(tuple(shape), np.asarray(affine, np.float64))
    if volume.data.shape == grid.shape and np.allclose(volume.affine, grid.affine, atol=1e-3):
        return Volume(volume.data, grid.affine, volume.path)
    inside = overlap(volume, grid)
    if inside < min_overlap:
        corner, size = np.round(grid.affine[:3, 3], 1).tolist(), np.round(voxel_sizes(grid.affine), 2).tolist()
        centre = volume.affine[:3, :3] @ (np.array(volume.data.shape) / 2) + volume.affine[:3, 3]
        found = f"{100 * inside:.0f} % of the scan inside the grid (its centre is at {np.round(centre, 1).tolist()} mm)"
        wanted = f"at least {100 * min_overlap:.0f} % inside the grid of {grid.shape} voxels, {size} mm, from {corner}"
        raise InputError(volume.path, "position", found, f"{wanted}; register it, or prepare.grid=native")
    ratio = np.array(voxel_sizes(grid.affine)) / np.array(volume.spacing_mm)
    sigma = np.maximum(0, (ratio - 1) / 2)
    data = ndimage.gaussian_filter(volume.data, sigma) if (sigma > 0.05).any() else volume.data
    matrix = np.linalg.inv(volume.affine) @ grid.affine
    linear, offset = matrix[:3, :3], matrix[:3, 3]
    diagonal = np.allclose(linear, np.diag(np.diag(linear)), atol=1e-6)
    data = ndimage.affine_transform(
        data,
        np.diag(linear) if diagonal else linear,  # a diagonal is separable and much faster
        offset,
        output_shape=grid.shape,
        order=1,
        mode="grid-constant",
        cval=0.0,
        output=np.float32,
    )
    return Volume(data, grid.affine, volume.path)


def save_volume(path: str | Path, data: np.ndarray, affine: Affine) -> Path:
    """Write a RAS volume as NIfTI, complete or not at all; returns the path."""
    import nibabel

    image = nibabel.Nifti1Image(np.asarray(data), np.asarray(affine, np.float64))
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=4)
    image.set_qform(affine, code=4, strip_shears=True)
    return write_image(path, image)


def write_image(path: str | Path, image: Any) -> Path:
    """Write a nibabel image, complete or not at all; packed where `path` ends in .gz, the same bytes every time."""
    path = Path(path)
    packed = path.name.lower().endswith(".gz")
    files.write_bytes(path, gzip.compress(image.to_bytes(), 1, mtime=0) if packed else image.to_bytes())
    return path
