"""Many images on one sheet: what of an image is shown, tiling, writing PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from brain_diffusion_jax import files
from brain_diffusion_jax.data.prepare.slicing import to_display
from brain_diffusion_jax.pixels import to_uint8


def displayed(images: Shaped[np.ndarray, "n *spatial channels"]) -> Shaped[np.ndarray, "n rows cols *rgb"]:
    """What a reader sees of images [n, *spatial, channels]: [n, rows, cols], or [n, rows, cols, 3] of 3 channels.

    Of volumes [n, x, y, z, channels] it is the middle axial slice, anterior up and the person's right on the left;
    of 2, 4 or more channels the first.
    """
    if images.ndim == 5:
        images = np.moveaxis(to_display(np.moveaxis(images[:, :, :, images.shape[3] // 2], -1, 1)), 1, -1)
    return images if images.shape[-1] == 3 else images[..., 0]


def three_planes(
    volume: Shaped[np.ndarray, "x y z *c"], at: tuple[int, int, int] | None = None
) -> Shaped[np.ndarray, "rows cols *c"]:
    """Axial, coronal and sagittal cut of a RAS volume side by side, cut at voxel `at` (default: the middle).

    Anterior and superior up, the person's right on the left; in the sagittal cut anterior is on the left. Black
    fills up shorter cuts below.
    """
    i, j, k = at or tuple(n // 2 for n in volume.shape[:3])
    axial, coronal, sagittal = volume[::-1, ::-1, k], volume[::-1, j, ::-1], volume[i, ::-1, ::-1]
    cuts = [cut.swapaxes(0, 1) for cut in (axial, coronal, sagittal)]
    rows = max(cut.shape[0] for cut in cuts)
    return np.concatenate([np.pad(c, [(0, rows - len(c))] + [(0, 0)] * (c.ndim - 1)) for c in cuts], axis=1)


def tile(
    unit_images: Float[np.ndarray, "n rows cols *more"], columns: int = 0, gap: int = 1
) -> UInt8[np.ndarray, "height width *rgb"]:
    """Images in [0, 1] row by row on one uint8 sheet; grey [n, rows, cols], or any that `displayed` takes.

    columns: 0 makes it about square. gap: pixels between images, mid grey; places left over are black.
    """
    images = np.asarray(unit_images, np.float32)
    if images.ndim > 3:
        images = displayed(images)
    count, rows, cols, *colours = images.shape
    columns = min(count, columns or int(np.ceil(np.sqrt(count))))
    lines = -(-count // columns)
    sheet = np.full((lines * (rows + gap) - gap, columns * (cols + gap) - gap, *colours), 96, np.uint8)
    stored = to_uint8(np.nan_to_num(images))
    for number in range(lines * columns):
        top, left = (number // columns) * (rows + gap), (number % columns) * (cols + gap)
        sheet[top : top + rows, left : left + cols] = stored[number] if number < count else 0
    return sheet


def save_png(path: str | Path, array: UInt8[np.ndarray, "rows cols *channels"]) -> Path:
    """Write uint8 grey [rows, cols] or colour [rows, cols, 3] as PNG, complete or not at all."""
    files.write_png(path, np.asarray(array))
    return Path(path)
