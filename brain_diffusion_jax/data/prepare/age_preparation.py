"""The input preparation that DeepBrainNet (Bashyam et al. 2020) was published with, step by step.

The published script takes scans as its pipeline wrote them, in LPS order, and never looks at the
affine. An image there has rows along x and columns along y: it is the transpose of a displayed
axial slice (row 0 the person's right, column 0 anterior). The network saw nothing else, so neither
may it see anything else here.
"""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8

from brain_diffusion_jax.data.prepare.nifti import MNI_1MM, Volume, resample
from brain_diffusion_jax.errors import InputError

SLICES = range(45, 125)
SIZE = (256, 256)
TOP = 185.0
PERCENTILE = 97.0
# A grid of the right size whose origin is this close to MNI's is taken as it is, as published.
_SAME_GRID_MM = 1.5


def on_published_grid(volume: Volume) -> Volume:
    """The scan on the MNI 1 mm grid; a scan already on such a grid keeps its voxels untouched."""
    shape, affine = MNI_1MM
    near = np.abs(volume.affine - affine)
    if volume.data.shape == shape and near[:3, :3].max() < 1e-3 and near[:3, 3].max() <= _SAME_GRID_MM:
        return volume
    return resample(volume, shape, affine)


def scaled_slices(volume: Volume) -> UInt8[np.ndarray, "80 182 218"]:
    """8-bit slices z = 45..124 of a RAS volume on the published grid, rows x and columns y.

    stored = floor(clip(value * 185 / p, 0, 255)) with p the 97th percentile of ALL voxels, background
    included, as in the published script. Raises InputError where p is 0.
    """
    if volume.data.shape != MNI_1MM.shape:
        raise InputError(volume.path, "grid", volume.data.shape, f"{MNI_1MM.shape}, the MNI 1 mm grid")
    data = volume.data.astype(np.float64)
    top = float(np.percentile(data, PERCENTILE))
    if top <= 0:
        raise InputError(volume.path, "97th percentile", top, "above 0: a brain that fills more than 3 % of the grid")
    planes = data[::-1, ::-1, SLICES.start : SLICES.stop]
    # float32 and truncation are what saving such an array as an 8-bit image does.
    scaled = np.clip((planes * (TOP / top)).astype(np.float32), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(scaled, 2, 0))


def through_jpeg(image: UInt8[np.ndarray, "rows cols"]) -> UInt8[np.ndarray, "rows cols 3"]:
    """What a grey image looks like after being saved as an RGB JPEG and read again."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(buffer, "JPEG")
    return np.asarray(Image.open(buffer).convert("RGB"))


def enlarge(images: UInt8[np.ndarray, "n rows cols *c"], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Nearest neighbour to `size`, the image generator's default: pixel i shows floor((i + 0.5) * have / want)."""
    rows, cols = images.shape[1:3]
    row = np.floor((np.arange(size[0]) + 0.5) * rows / size[0]).astype(int)
    col = np.floor((np.arange(size[1]) + 0.5) * cols / size[1]).astype(int)
    return images[:, row][:, :, col]


def stored_pictures(volume: Volume, *, jpeg: bool = False) -> UInt8[np.ndarray, "80 256 256 c"]:
    """The network's input in 8 bit from a RAS, skull-stripped volume; c is 1, or 3 with jpeg.

    jpeg: go through JPEG as the published script did, instead of leaving its loss out.
    """
    slices = scaled_slices(on_published_grid(volume))
    images = np.stack([through_jpeg(s) for s in slices]) if jpeg else slices[..., None]
    return enlarge(images)
