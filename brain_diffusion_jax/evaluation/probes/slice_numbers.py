"""Numbers of each slice of a scan that say what it looks like, in the unit of the stored pixels; no image can be
made from them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Shaped
from scipy import ndimage

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_unit

_DARK = 0.02  # below it is background
_LEVELS = (5, 25, 50, 75, 95)
_BANDS = (0.03, 0.07, 0.12, 0.19, 0.28, 0.38, 0.5)  # cycles a pixel
_FLOOR = 1e-7  # of the power of a white image

_INTENSITIES = (
    "part of the slice that is not black",
    "part at full scale",
    "part of the tissue in the commonest of 32 grey levels",
    *(f"{level} % quantile of the tissue" for level in _LEVELS),
)
_SPECTRUM = (
    *(f"log10 power from {low:g} to {high:g} cycles a pixel" for low, high in pairwise(_BANDS)),
    "fine structure inside the tissue, over its contrast",
)
NEXT = "difference to the next slice, over the mean"
_PLACE = ("middle row", "middle column", "spread of rows", "spread of columns", "correlation of left and right")
NAMES = (*_INTENSITIES, *_SPECTRUM, NEXT, *_PLACE)
ASPECTS = (
    *["intensities"] * len(_INTENSITIES),
    *["spectrum"] * len(_SPECTRUM),
    "slices",
    *["place"] * len(_PLACE),
)


def measure(images: Shaped[np.ndarray, "n rows cols *c"]) -> Float[np.ndarray, "n k"]:
    """Numbers of NAMES for each slice of one scan, in order; NEXT is NaN for the last. Colours are averaged."""
    if images.ndim > 4:
        raise InputError("input profile", "image shape", images.shape[1:], "slices (rows, cols, channels)")
    unit = np.asarray(to_unit(images))
    unit = unit.mean(-1) if unit.ndim == 4 else unit
    change = np.abs(np.diff(unit, axis=0)).mean((1, 2)) / (unit[:-1].mean((1, 2)) + 0.01)
    following = np.append(change, np.nan)
    rows = [
        [*_intensities(image), *_spectrum(image), after, *_place(image)]
        for image, after in zip(unit, following, strict=True)
    ]
    return np.array(rows, np.float32)


def _intensities(image: Float[np.ndarray, "rows cols"]) -> list[float]:
    tissue = image[image > _DARK]
    if not len(tissue):
        return [0.0] * len(_INTENSITIES)
    counts, _ = np.histogram(tissue, 32, (0.0, 1.0))
    fractions = [len(tissue) / image.size, float((image > 0.995).mean()), counts.max() / len(tissue)]
    return [*fractions, *np.percentile(tissue, _LEVELS)]


def _spectrum(image: Float[np.ndarray, "rows cols"]) -> list[float]:
    """Fractions of the power in rings of frequency, as log10, so that the unit of intensity drops out."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    ring = np.digitize(frequency, _BANDS).ravel()
    each = np.bincount(ring, power.ravel(), minlength=len(_BANDS) + 1)[1 : len(_BANDS)]
    total = power.sum()
    if total <= 0:
        return [0.0] * len(_SPECTRUM)
    inside = ndimage.binary_erosion(image > _DARK, iterations=3)
    fine = 0.0
    if inside.sum() > 30 and (spread := float(image[inside].std())) > 1e-4:
        fine = float((image - ndimage.gaussian_filter(image, 1.0))[inside].std()) / spread
    return [*np.log10(each / total + _FLOOR), fine]


def _place(image: Float[np.ndarray, "rows cols"]) -> list[float]:
    """In fractions of the image's sides; last, the correlation of the slice with its mirror image."""
    total = float(image.sum())
    if total < 1e-6:
        return [0.0] * len(_PLACE)
    middles, spreads = [], []
    for axis in (0, 1):
        weight = image.sum(1 - axis) / total
        position = (np.arange(len(weight)) + 0.5) / len(weight)
        middles.append(float(weight @ position))
        spreads.append(float(np.sqrt(weight @ (position - middles[-1]) ** 2)))
    mirrored = float(np.corrcoef(image.ravel(), image[:, ::-1].ravel())[0, 1]) if np.ptp(image) > 1e-6 else 0.0
    return [*middles, *spreads, mirrored]
