"""Many pictures as one: tiling and writing PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from brain_diffusion_jax import files
from brain_diffusion_jax.pixels import to_uint8


def tile(
    unit_pictures: Float[np.ndarray, "n rows cols"], columns: int = 0, gap: int = 1
) -> UInt8[np.ndarray, "height width"]:
    """Pictures in [0, 1] (a last axis of 1 is dropped) row by row as one grey uint8 picture.

    columns: 0 makes it about square. gap: pixels between pictures, mid grey; cells left over are black.
    """
    pictures = np.asarray(unit_pictures, np.float32)
    if pictures.ndim == 4 and pictures.shape[-1] == 1:
        pictures = pictures[..., 0]
    count, rows, cols = pictures.shape
    columns = min(count, columns or int(np.ceil(np.sqrt(count))))
    lines = -(-count // columns)
    sheet = np.full((lines * (rows + gap) - gap, columns * (cols + gap) - gap), 96, np.uint8)
    grey = to_uint8(np.nan_to_num(pictures))
    for number in range(lines * columns):
        top, left = (number // columns) * (rows + gap), (number % columns) * (cols + gap)
        sheet[top : top + rows, left : left + cols] = grey[number] if number < count else 0
    return sheet


def save_png(path: str | Path, array: UInt8[np.ndarray, "rows cols *channels"]) -> Path:
    """Write uint8 grey [rows, cols] or colour [rows, cols, 3] as PNG, complete or not at all."""
    files.write_png(path, np.asarray(array))
    return Path(path)
