"""Optional preparation of images: crop to the head's contour, set a tilted head upright, square, resize.

The steps are those of Nguyen et al. 2023 (blur, threshold 45, erode and dilate twice, largest contour; tilt by
the fitted ellipse where the head fills 0.4 to 0.82 of the image). What cannot be done to an image is
said in its result; nothing fails silently.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from brain_diffusion_jax.errors import InputError, require_one_of

Pixels = UInt8[np.ndarray, "rows cols"]
Colours = UInt8[np.ndarray, "rows cols 3"]


class PreparationError(ValueError):
    """Why a step cannot be done to this image."""


@dataclass(frozen=True)
class PicturePrep:
    """size: rows and cols of the result. crop, tilt: do the step. threshold: of 0-255, after the blur.

    tilt_share: the head's fraction of the image within which its ellipse is believed. min_elongation:
    major over minor axis below which a head is too round to have a direction. on_failure: what happens
    to an image on which a wanted step fails: "keep" (without the step, and listed), "drop" or "refuse".
    """

    size: int = 64
    crop: bool = False
    tilt: bool = False
    threshold: float = 45.0
    blur_sigma: float = field(default=1.1, metadata={"config": False})
    tilt_share: tuple[float, float] = field(default=(0.4, 0.82), metadata={"config": False})
    min_elongation: float = field(default=1.05, metadata={"config": False})
    on_failure: str = "keep"

    def __post_init__(self) -> None:
        if self.size < 8:
            raise InputError("pictures", "size", self.size, "8 or more")
        require_one_of(self.on_failure, ("keep", "drop", "refuse"), "pictures", "on_failure")

    def to_json(self) -> dict[str, Any]:
        """The steps, for the contract."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self.__dict__.items()}


class PreparedPicture(NamedTuple):
    """pixels [size, size]; failed: steps that were not done, and why."""

    pixels: Pixels
    failed: tuple[str, ...]


def head_mask(pixels: Pixels, threshold: float = 45.0, blur_sigma: float = 1.1) -> Bool[np.ndarray, "rows cols"]:
    """The largest bright region, holes filled. Raises PreparationError where there is none."""
    blurred = ndimage.gaussian_filter(pixels.astype(np.float32), blur_sigma)
    bright = ndimage.binary_erosion(blurred > threshold, np.ones((3, 3)), iterations=2)
    bright = ndimage.binary_dilation(bright, np.ones((3, 3)), iterations=2)
    labels, count = ndimage.label(bright)
    if not count:
        raise PreparationError(f"nothing brighter than {threshold:g}")
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(labels == sizes.argmax())


def contour_crop(pixels: Pixels, threshold: float = 45.0, blur_sigma: float = 1.1) -> Pixels:
    """Cut to the bounding box of the head. Raises PreparationError for a box under 1/16 of the image."""
    rows, cols = np.where(head_mask(pixels, threshold, blur_sigma))
    cut = pixels[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    if cut.size < pixels.size / 16:
        raise PreparationError(f"largest bright region only {cut.shape[0]} x {cut.shape[1]} pixels")
    return cut


def tilt_degrees(pixels: Pixels, prep: PicturePrep = PicturePrep()) -> float:
    """Angle in (-45, 45] that the head's ellipse leans from the nearest image axis; positive leans to the right.

    The ellipse has the second moments of the region. Raises PreparationError where it says nothing:
    the head fills too little or too much of the image, or is too round.
    """
    from skimage.measure import regionprops

    mask = head_mask(pixels, prep.threshold, prep.blur_sigma)
    low, high = prep.tilt_share
    fraction = float(mask.mean())
    if not low <= fraction <= high:
        raise PreparationError(f"head fills {fraction:.2f} of the picture, not {low:g} to {high:g}")
    (region,) = regionprops(mask.astype(np.uint8))
    major, minor = region.axis_major_length, region.axis_minor_length
    if major < prep.min_elongation * minor:
        raise PreparationError(f"head too round ({major / max(minor, 1e-9):.2f})")
    angle = np.degrees(region.orientation)  # of the major axis from the rows' direction
    return float((angle + 45) % 90 - 45)


def upright(pixels: Pixels, degrees: float) -> Pixels:
    """Turn an image that leans by `degrees` back; the corners that come in are black."""
    turned = ndimage.rotate(pixels.astype(np.float32), -degrees, reshape=False, order=1, mode="constant")
    return np.clip(np.rint(turned), 0, 255).astype(np.uint8)


def to_square(pixels: Pixels | Colours, size: int) -> UInt8[np.ndarray, "size size *colours"]:
    """Pad with black to a square, image in the middle, then resize (anti-aliased)."""
    from PIL import Image

    side = max(pixels.shape[:2])
    square = np.zeros((side, side, *pixels.shape[2:]), np.uint8)
    top, left = (side - pixels.shape[0]) // 2, (side - pixels.shape[1]) // 2
    square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC))


def prepare_picture(pixels: Pixels, prep: PicturePrep) -> PreparedPicture:
    """All wanted steps in order: tilt, crop, square, resize; a step that fails is skipped and named."""
    failed: list[str] = []
    if prep.tilt:
        try:
            pixels = upright(pixels, tilt_degrees(pixels, prep))
        except PreparationError as error:
            failed.append(f"tilt: {error}")
    if prep.crop:
        try:
            pixels = contour_crop(pixels, prep.threshold, prep.blur_sigma)
        except PreparationError as error:
            failed.append(f"crop: {error}")
    return PreparedPicture(to_square(pixels, prep.size), tuple(failed))
