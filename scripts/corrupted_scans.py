"""Scans corrupted in the ways that happen in practice: for the tests and for `measure_input_checks.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

TISSUE = 0.4  # of the 90th percentile
FLOOR = 10  # voxels of the MNI 2 mm grid below which necks differ


def rotation(axis: int, degrees: float) -> np.ndarray:
    """About axis 0 (x, a pitch), 1 or 2."""
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = cos, -sin, sin, cos
    return matrix


def tissue_points(data: np.ndarray) -> np.ndarray:
    """Voxels [n, 3] of grey and white matter above the neck."""
    points = np.argwhere(data > TISSUE * np.percentile(data[data > 0.05 * data.max()], 90))
    return points[points[:, 2] >= FLOOR]


def box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner [3] of a point cloud, without 0.5 % on either side."""
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    return low, high


def lying(data: np.ndarray, turn: np.ndarray, outline: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The brain turned about its middle and stretched along each axis until it fills the box of an upright one."""
    points = tissue_points(data)
    middle = points.mean(0)
    low, high = box((points[::7] - middle) @ turn.T)
    scale = (high - low) / (outline[1] - outline[0])
    # Where a voxel of the result comes from: out -> turned coordinates -> the scan.
    matrix = turn.T @ np.diag(scale)
    offset = turn.T @ (low - scale * outline[0]) + middle
    cut = np.where(np.arange(data.shape[2]) >= FLOOR, data, 0).astype(np.float32)
    return ndimage.affine_transform(cut, matrix, offset, order=1)


TURNS = {f"{angle} degrees about {'xyz'[axis]}": (axis, angle) for axis in range(3) for angle in (90, 180, 270)}
TURNS |= {f"pitched by {angle} degrees": (0, angle) for angle in (60, 75, 105, 120)}


def blurred(fwhm_mm: float, spacing_mm: float = 2.0) -> Callable[[np.ndarray], np.ndarray]:
    """A Gaussian blur by its full width at half maximum."""
    return lambda data: ndimage.gaussian_filter(data, fwhm_mm / 2.3548 / spacing_mm)


def smoothed(sigma_mm: float, spacing_mm: float = 2.0) -> Callable[[np.ndarray], np.ndarray]:
    """A Gaussian blur by its standard deviation."""
    return lambda data: ndimage.gaussian_filter(data, sigma_mm / spacing_mm)


def with_planes(every: int, value: str) -> Callable[[np.ndarray], np.ndarray]:
    """Every second (third ...) axial plane black, or equal to the one before."""

    def corrupt(data: np.ndarray) -> np.ndarray:
        out = data.copy()
        out[:, :, 1::every] = 0 if value == "black" else data[:, :, 0 : data.shape[2] - 1 : every]
        return out

    return corrupt


def shuffled(data: np.ndarray) -> np.ndarray:
    """Voxels of the brain in random order."""
    out, inside = data.copy(), data > 0
    out[inside] = np.random.default_rng(0).permutation(data[inside])
    return out


def rolled(degrees: float, axes: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """A rotation in the plane of two axes; what leaves the grid is cut off."""
    return lambda data: ndimage.rotate(data, degrees, axes=axes, reshape=False, order=1)


def noisy(data: np.ndarray) -> np.ndarray:
    """Gaussian noise of a tenth of the 90th percentile, inside the brain."""
    noise = np.random.default_rng(0).normal(0, 0.1 * np.percentile(data[data > 0], 90), data.shape)
    return np.where(data > 0, np.clip(data + noise, 0, None), 0)


def thick(data: np.ndarray) -> np.ndarray:
    """6 mm slices, interpolated to 2 mm."""
    coarse = ndimage.uniform_filter1d(data, 3, axis=2)[:, :, 1::3]
    return ndimage.zoom(coarse, (1, 1, data.shape[2] / coarse.shape[2]), order=1)


def inverted(data: np.ndarray) -> np.ndarray:
    """Dark for bright inside the brain."""
    return np.where(data > 0, np.clip(data.max() * 0.6 - data, 0.02, None), 0)


CORRUPTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "intensities 0 to 1 instead of 0 to 2.55": lambda data: data / 2.55,
    "intensities halved": lambda data: data / 2,
    "intensities 0 to 4500": lambda data: data * (4500 / 2.55),
    "z-scores": lambda data: np.where(data > 0, (data - data[data > 0].mean()) / data[data > 0].std(), 0),
    "blur, FWHM 2 mm": blurred(2.0),
    "blur, FWHM 4 mm": blurred(4.0),
    "blur, sigma 2 mm": smoothed(2.0),
    "blur, sigma 6 mm": smoothed(6.0),
    "every second slice black": with_planes(2, "black"),
    "every third slice black": with_planes(3, "black"),
    "every second slice repeated": with_planes(2, "repeated"),
    "6 mm slices, interpolated": thick,
    "binary brain mask": lambda data: (data > 0.1).astype(np.float32),
    "gamma 0.5": lambda data: np.sqrt(data),
    "gamma 2": lambda data: data**2,
    "voxels shuffled within the brain": shuffled,
    "noise, 10 % of white": noisy,
    "inverted contrast": inverted,
    "rolled by 10 degrees": rolled(10, (0, 2)),
    "pitched by 10 degrees": rolled(10, (1, 2)),
    "upside down": lambda data: data[:, :, ::-1].copy(),
    "front and back swapped": lambda data: data[:, ::-1].copy(),
}
