"""One image file as grey pixels: the reader of every command that takes images.

The depth of the file decides the scale: 8 bits stay uint8, 9 to 16 bits become float32 over the full scale of
their depth, floats must lie in [0, 1] already. What would need a choice of the owner of the data is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from brain_diffusion_jax.errors import InputError, refusing
from brain_diffusion_jax.pixels import to_unit

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MOST_PIXELS = 4096 * 4096  # far above any slice, far below what fills a memory
# Chroma noise of JPEG: channels of a grey image coded as RGB differ by a few counts.
GREY_TOLERANCE = 12
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # by content; Pillow would run Ghostscript on a ".png" that is EPS
_TRANSPARENT = ("P", "PA", "LA", "La", "RGBA", "RGBa")
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags

Grey = UInt8[np.ndarray, "rows cols"] | Float[np.ndarray, "rows cols"]


def picture_paths(folder: Path, pattern: str = "**/*", suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Picture files below a folder, in order; the `._` files that macOS leaves beside others are none."""
    return sorted(p for p in folder.glob(pattern) if p.suffix.lower() in suffixes and not p.name.startswith("._"))


def read_grey(path: str | Path) -> Grey:
    """A PNG, JPEG, TIFF or BMP as uint8 (8 bits and less) or float32 in [0, 1]; grey coded as RGB is recognised.

    Raises InputError, before anything is decoded, for more than MOST_PIXELS pixels; and for unreadable or empty
    files, several images in one, CMYK, colour or transparent images, signed or 32-bit integers, floats
    outside [0, 1].
    """
    path = Path(path)
    pixels, mode, full_scale = _decoded(path)
    if full_scale is not None:
        return _deep(path, pixels, full_scale)
    return _grey(path, pixels, mode)


def read_colour(path: str | Path) -> UInt8[np.ndarray, "rows cols 3"]:
    """An RGB image of 8 bits a channel; InputError for any other, and as `read_grey`."""
    pixels, mode, _ = _decoded(Path(path))
    if mode != "RGB":
        raise InputError(path, "colours", mode, "RGB")
    return np.asarray(pixels)


def _decoded(path: Path) -> tuple[np.ndarray, str, float | None]:
    """(pixels, mode as Pillow calls it, full scale of more than 8 bits)."""
    from PIL import Image

    if not os.path.exists(path):  # Path.exists raises for a name that is too long
        raise InputError(path, "file", "no such file", "a picture")
    if path.stat().st_size == 0:
        raise InputError(path, "file", "0 bytes", "a picture; copy or download it again")
    expected = "a readable PNG, JPEG, TIFF or BMP"
    with refusing(path, "picture", expected), Image.open(path, formats=_FORMATS) as image:
        _require_one_of_modest_size(path, image)
        full_scale = _full_scale(path, image)
        clear = image.mode in _TRANSPARENT or "transparency" in image.info
        pixels = np.asarray(image.convert("RGBA") if clear and full_scale is None else image)
        mode = "RGBA" if clear else image.mode
    return pixels, mode, full_scale


def read_stack(paths: Iterable[Path]) -> UInt8[np.ndarray, "n rows cols"] | Float[np.ndarray, "n rows cols"]:
    """Files of one size: uint8, or float32 in [0, 1] where any of them is deeper than 8 bits."""
    paths, found = list(paths), []
    for path in paths:
        found.append(read_grey(path))
        if found[-1].shape != found[0].shape:
            raise InputError(path, "picture size", found[-1].shape, f"{found[0].shape}, as {paths[0].name}")
    if all(pixels.dtype == np.uint8 for pixels in found):
        return np.stack(found)
    return np.stack([to_unit(pixels) for pixels in found])


def _require_one_of_modest_size(path: Path, image: Any) -> None:
    cols, rows = image.size
    if rows * cols > MOST_PIXELS:
        raise InputError(path, "size", f"{cols} x {rows} pixels", f"at most {MOST_PIXELS} pixels, as 4096 x 4096")
    if image.format in ("PNG", "TIFF") and getattr(image, "n_frames", 1) > 1:
        raise InputError(path, "pictures", f"{image.n_frames} in one file", "one picture a file")


def _full_scale(path: Path, image: Any) -> float | None:
    """The stored value that is white; None for 8 bits and less, which Pillow spreads over 0 to 255."""
    mode, tags = image.mode, getattr(image, "tag_v2", {})
    if mode == "F":
        return 1.0
    if not mode.startswith("I"):
        return None
    if image.format == "TIFF" and (mode == "I" or tags.get(_PHOTOMETRIC) == 0):
        raise InputError(path, "depth", f"TIFF, mode {mode}", "unsigned integers of 8 or 16 bits, 0 black; or floats")
    bits = max(tags.get(_BITS_PER_SAMPLE, (16,)))
    return float(2**bits - 1)


def _deep(path: Path, pixels: np.ndarray, full_scale: float) -> np.ndarray:
    unit = pixels.astype(np.float32) / np.float32(full_scale)
    low, high = float(unit.min()), float(unit.max())  # NaN fails both comparisons
    if not (low >= 0 and high <= 1):
        raise InputError(path, "values", f"floats from {low:g} to {high:g}", "floats in [0, 1], or integers")
    return unit


def _grey(path: Path, pixels: np.ndarray, mode: str) -> np.ndarray:
    if mode == "1":
        return np.asarray(pixels, np.uint8) * np.uint8(255)
    if mode == "L":
        return np.ascontiguousarray(pixels)
    if mode == "YCbCr":
        return np.ascontiguousarray(pixels[..., 0])
    if mode not in ("RGB", "RGBA"):
        raise InputError(path, "colours", mode, "grey or grey coded as RGB; convert it")
    if mode == "RGBA" and pixels[..., 3].min() < 255:
        raise InputError(path, "transparency", "pixels that are not opaque", "an opaque picture")
    channels = pixels[..., :3].astype(np.int16)
    spread = channels.max(-1) - channels.min(-1)
    # A few pixels of chroma noise are no colour; an overlay or a photograph is.
    if np.quantile(spread, 0.999) > GREY_TOLERANCE:
        found = f"{100 * float((spread > GREY_TOLERANCE).mean()):.1f} % of the pixels coloured"
        raise InputError(path, "colours", found, "grey, or grey coded as RGB")
    return np.rint(channels.mean(-1)).astype(np.uint8)
