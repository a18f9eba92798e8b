"""Many images on one sheet: what of an image is shown, tiling, writing PNG."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from brain_diffusion_jax import files
from brain_diffusion_jax.data.prepare.slicing import to_display
from brain_diffusion_jax.pixels import to_uint8

# Where previews of a head in MNI space are cut, in mm: sagittal x, coronal y, axial z.
CUTS_MM = (10.0, -18.0, 20.0)


def displayed(images: Shaped[np.ndarray, "n *spatial channels"]) -> Shaped[np.ndarray, "n rows cols *rgb"]:
    """What a reader sees of images [n, *spatial, channels]: [n, rows, cols], or [n, rows, cols, 3] of 3 channels.

    Of volumes [n, x, y, z, channels] it is the middle axial slice, anterior up and the person's right on the left;
    of 2, 4 or more channels the first.
    """
    if images.ndim == 5:
        images = np.moveaxis(to_display(np.moveaxis(images[:, :, :, images.shape[3] // 2], -1, 1)), 1, -1)
    return images if images.shape[-1] == 3 else images[..., 0]


def three_planes(
    volumes: Shaped[np.ndarray, "*n x y z"], at: tuple[int, int, int] | None = None
) -> Shaped[np.ndarray, "*n rows cols"]:
    """Axial, coronal and sagittal cut of RAS volumes side by side, cut at voxel `at` (default: the middle).

    Anterior and superior up, the person's right on the left; in the sagittal cut anterior is on the left. Black
    fills up shorter cuts below.
    """
    i, j, k = at or tuple(n // 2 for n in volumes.shape[-3:])
    cuts = [to_display(planes) for planes in (volumes[..., k], volumes[..., j, :], volumes[..., i, :, :])]
    rows, before = max(cut.shape[-2] for cut in cuts), [(0, 0)] * (volumes.ndim - 3)
    return np.concatenate([np.pad(cut, [*before, (0, rows - cut.shape[-2]), (0, 0)]) for cut in cuts], axis=-1)


def voxel_at(
    shape: tuple[int, ...], affine: Float[np.ndarray, "4 4"], place_mm: tuple[float, float, float]
) -> tuple[int, int, int]:
    """The voxel of an axis-aligned grid nearest to a place, within the grid."""
    index = np.rint((np.array(place_mm) - affine[:3, 3]) / np.diag(affine)[:3])
    i, j, k = np.clip(index, 0, np.array(shape[:3]) - 1).astype(int).tolist()
    return i, j, k


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


def as_png(array: UInt8[np.ndarray, "rows cols *rgb"]) -> str:
    """An image as a PNG data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def save_png(path: str | Path, array: UInt8[np.ndarray, "rows cols *channels"]) -> Path:
    """Write uint8 grey [rows, cols] or colour [rows, cols, 3] as PNG, complete or not at all."""
    files.write_png(path, np.asarray(array))
    return Path(path)
