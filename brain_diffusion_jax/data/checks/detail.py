"""Is a scan as sharp, as complete and as rich in greys as a scan is? Measures that an outline cannot show.

Taken from the voxels themselves, before any coarse grid averages them: blur, planes that are missing or
repeated, masks and label images, and the intensity of bright tissue in the scan's own unit.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from brain_diffusion_jax.data.prepare.nifti import MNI_2MM, Volume, resample

_TISSUE = 0.4  # of the 90th percentile, as in `quality`
_COMMON = 4  # values that a mask or label image is made of


def bright_level(data: Float[np.ndarray, "x y z"], percent: float = 90.0) -> float:
    """A percentile of what is no background: by default the 90th, white matter nearly. 0 where nothing is."""
    tissue = data[data > 0.05 * np.percentile(data, 99.5)]  # not of the maximum: one hot voxel would rule
    return max(float(np.percentile(tissue, percent)), 1e-9) if tissue.size else 0.0


def measure(volume: Volume) -> dict[str, float]:
    """sharpness: what a Gaussian of 2 mm takes away inside the brain, as a fraction of the contrast there; contrast:
    half range of the middle 80 % of tissue over its median; gaps, repeats: fractions of planes; few_values: that of
    tissue voxels with one of the four commonest values; level: 90th percentile of tissue, in the scan's unit.
    """
    data = np.asarray(volume.data, np.float32)
    level = bright_level(data) or 1e-9
    tissue = data > _TISSUE * level
    values = data[tissue]
    if not len(values):
        return {"sharpness": 0.0, "contrast": 0.0, "gaps": 0.0, "repeats": 0.0, "few_values": 1.0, "level": level}
    low, middle, high = np.percentile(values, [10, 50, 90])
    _, counts = np.unique(np.round(values / level, 4), return_counts=True)
    planes = [_planes(data, tissue, axis) for axis in range(3)]
    return {
        "sharpness": _sharpness(volume),
        "contrast": float((high - low) / 2 / middle),
        "gaps": max(gaps for gaps, _ in planes),
        "repeats": max(repeats for _, repeats in planes),
        "few_values": float(np.sort(counts)[-_COMMON:].sum() / len(values)),
        "level": level,
    }


def _sharpness(volume: Volume) -> float:
    scan = resample(volume, MNI_2MM.shape, MNI_2MM.affine).data
    if not (level := bright_level(scan)):
        return 0.0
    scan = np.clip(scan / level, 0, 1.3)
    # The rim of a stripped brain is a sharp edge however blurred the brain was: only what lies within counts.
    within = ndimage.binary_erosion(ndimage.binary_fill_holes(scan > _TISSUE), iterations=3)
    if within.sum() < 100:
        return 0.0
    spread = float(scan[within].std())
    return float((scan - ndimage.gaussian_filter(scan, 1.0))[within].std() / spread) if spread > 1e-6 else 0.0


def _planes(data: Float[np.ndarray, "x y z"], tissue: np.ndarray, axis: int) -> tuple[float, float]:
    """Fractions of planes with tissue on both sides that hold hardly any, and that equal the plane before."""
    across = tuple(a for a in range(3) if a != axis)
    area = tissue.sum(across)
    ends = np.flatnonzero(area > 0.1 * area.max())
    first, last = int(ends[0]), int(ends[-1])
    inner = area[first : last + 1]
    if len(inner) < 3:
        return 0.0, 0.0
    wall = np.minimum(np.maximum.accumulate(inner), np.maximum.accumulate(inner[::-1])[::-1])
    steps = np.abs(np.diff(np.moveaxis(data, axis, 0)[first : last + 1], axis=0)).max((1, 2))
    return float((inner < _GAP * wall).mean()), float((steps <= 1e-6 * data.max()).mean())


_GAP = 0.35  # less tissue than this fraction of what lies on both sides: the plane is missing
