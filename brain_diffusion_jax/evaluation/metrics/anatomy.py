"""Anatomical checks that need no network: dark fraction, tissue fractions, symmetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import full_scale


@dataclass(frozen=True)
class DarkFraction:
    """Share of pixels below a threshold in the central box, where ventricles and deep sulci lie.

    rows, cols: [start, stop) of the box; threshold: on unit pictures; slice: the value of the
    slice covariate it is meant for (None: every picture).
    """

    rows: tuple[int, int]
    cols: tuple[int, int]
    threshold: float
    slice: float | None = None

    def __call__(self, images: np.ndarray) -> Float[np.ndarray, " n"]:
        """images: uint8, or floats in [0, 1], [n, rows, cols(, 1)]."""
        pictures = images[..., 0] if images.ndim == 4 else images
        if self.rows[1] > pictures.shape[1] or self.cols[1] > pictures.shape[2]:
            raise InputError(
                "study.dark_fraction", "rows, cols", (self.rows, self.cols), f"a box inside {pictures.shape[1:]}"
            )
        box = pictures[:, self.rows[0] : self.rows[1], self.cols[0] : self.cols[1]]
        scale = full_scale(images.dtype)
        # A stored level that equals the threshold is not dark, however it was rounded on the way.
        return (box < self.threshold * scale - 1e-5 * scale).mean((1, 2))


# The box of the 109x91 axial MNI picture at 2 mm, as shares of its size.
_BOX_ROWS, _BOX_COLS = (30 / 109, 85 / 109), (28 / 91, 63 / 91)


def to_unit(value: float, contract: Contract) -> float:
    """A value in the scan's own unit as a value of unit pictures; only a fixed intensity rule knows it."""
    rule = contract.intensity
    if rule.rule != "fixed" or rule.low is None or rule.high is None:
        raise InputError(
            "study.dark_fraction",
            "threshold",
            f"{value} under intensity rule {rule.rule!r}",
            "a fixed intensity rule (low, high), or threshold_unit in [0, 1]",
        )
    return (value - rule.low) / (rule.high - rule.low)


def dark_fraction(spec: Mapping[str, Any] | None, contract: Contract | None, real: np.ndarray) -> DarkFraction:
    """The check of config.study.dark_fraction: {rows, cols, threshold, slice}, threshold in the scan's unit.

    With `threshold_unit` instead the threshold is on unit pictures. Without a spec: the same box as a
    share of the picture, and half the median of the real pictures' non-zero pixels.
    """
    size = real.shape[1:3]
    spec = dict(spec or {})
    unknown = set(spec) - {"rows", "cols", "threshold", "threshold_unit", "slice"}
    if unknown:
        raise InputError("config", "study.dark_fraction", sorted(unknown), "rows, cols, threshold, slice")
    rows = tuple(spec.get("rows") or (round(share * size[0]) for share in _BOX_ROWS))
    cols = tuple(spec.get("cols") or (round(share * size[1]) for share in _BOX_COLS))
    if spec.get("threshold_unit") is not None:
        threshold = float(spec["threshold_unit"])
    elif spec.get("threshold") is not None:
        if contract is None:
            raise InputError("config", "study.dark_fraction.threshold", spec["threshold"], "pictures with a contract")
        threshold = to_unit(float(spec["threshold"]), contract)
    else:
        bright = real[real > 0]
        scale = full_scale(real.dtype)
        threshold = 0.5 * float(np.median(bright)) / scale if bright.size else 0.5
    where = spec.get("slice")
    return DarkFraction((rows[0], rows[1]), (cols[0], cols[1]), threshold, None if where is None else float(where))


def spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Rank correlation with mean ranks for ties; NaN when either side is constant or has < 3 values."""
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


YOUNG, OLD = 30.0, 75.0  # years


def young_and_old(ages: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Mean value below YOUNG and above OLD years; NaN for an empty side."""
    sides = (values[ages < YOUNG], values[ages > OLD])
    low, high = (float(side.mean()) if len(side) else float("nan") for side in sides)
    return low, high


def head_mask(pictures: np.ndarray) -> np.ndarray:
    """Pixels inside the head: above a tenth of the bright level, holes filled, largest piece."""
    from scipy import ndimage

    masks = np.zeros(pictures.shape, bool)
    for index, picture in enumerate(pictures):
        bright = np.quantile(picture, 0.98)
        labels, count = ndimage.label(picture > 0.1 * bright)
        if count:
            sizes = np.bincount(labels.ravel())[1:]
            masks[index] = ndimage.binary_fill_holes(labels == sizes.argmax() + 1)
    return masks


def tissue_thresholds(real: np.ndarray) -> tuple[float, float]:
    """Two grey levels that part CSF, grey and white matter of real unit pictures (multi-level Otsu)."""
    from skimage.filters import threshold_multiotsu

    pictures = real[:200]
    inside = pictures[head_mask(pictures)]
    if inside.size < 100 or len(np.unique(inside)) < 3:
        return 1 / 3, 2 / 3
    low, high = threshold_multiotsu(inside, classes=3)
    return float(low), float(high)


def tissue_fractions(pictures: np.ndarray, thresholds: tuple[float, float]) -> Float[np.ndarray, "n 3"]:
    """Shares of the head that are dark (CSF), middle (grey) and bright (white); rows sum to 1."""
    fractions = np.zeros((len(pictures), 3))
    for index, (picture, mask) in enumerate(zip(pictures, head_mask(pictures), strict=True)):
        inside = picture[mask]
        classes = np.digitize(inside, thresholds)
        fractions[index] = np.bincount(classes, minlength=3) / max(len(inside), 1)
    return fractions


def symmetry(pictures: np.ndarray) -> Float[np.ndarray, " n"]:
    """Correlation of each picture with its left-right mirror, after moving the head's middle to the centre."""
    values = np.zeros(len(pictures))
    for index, (picture, mask) in enumerate(zip(pictures, head_mask(pictures), strict=True)):
        columns = np.flatnonzero(mask.any(0))
        if not len(columns):
            values[index] = np.nan
            continue
        strip = picture[:, columns[0] : columns[-1] + 1].astype(np.float64)
        mirrored = strip[:, ::-1]
        spread = strip.std() ** 2
        values[index] = ((strip - strip.mean()) * (mirrored - mirrored.mean())).mean() / spread if spread else np.nan
    return values
