"""Anatomical checks that need no network: dark fraction, tissue fractions, symmetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import channels_last
from brain_diffusion_jax.pixels import full_scale

YOUNG, OLD = 30.0, 75.0  # years


def grey_slices(images: Shaped[np.ndarray, "n ..."], where: str) -> Shaped[np.ndarray, "n rows cols"]:
    """The one channel of grey slices; raises InputError for colours and volumes."""
    array = channels_last(images, where)
    if array.ndim != 4 or array.shape[-1] != 1:
        raise InputError(where, "image shape", array.shape[1:], "(rows, cols, 1): grey slices")
    return array[..., 0]


@dataclass(frozen=True)
class DarkFraction:
    """Fraction of pixels below a threshold in the central box, where ventricles and deep sulci lie.

    rows, cols: [start, stop) of the box; threshold: on unit images; slice: the value of the
    slice covariate it is meant for (None: every image).
    """

    rows: tuple[int, int]
    cols: tuple[int, int]
    threshold: float
    slice: float | None = None

    def __call__(self, images: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, " n"]:
        """images: grey slices, uint8 or floats in [0, 1]."""
        grey = grey_slices(images, "study.dark_fraction")
        if self.rows[1] > grey.shape[1] or self.cols[1] > grey.shape[2]:
            raise InputError(
                "study.dark_fraction", "rows, cols", (self.rows, self.cols), f"a box inside {grey.shape[1:]}"
            )
        box = grey[:, self.rows[0] : self.rows[1], self.cols[0] : self.cols[1]]
        scale = full_scale(grey.dtype)
        # A stored level that equals the threshold is not dark, however it was rounded on the way.
        return (box < self.threshold * scale - 1e-5 * scale).mean((1, 2))


# The box of the 109x91 axial MNI slice at 2 mm, as fractions of its size.
_BOX_ROWS, _BOX_COLS = (30 / 109, 85 / 109), (28 / 91, 63 / 91)


def to_unit(value: float, contract: Contract) -> float:
    """A value in the scan's own unit as a value of unit images; only a fixed intensity rule knows it."""
    rule = contract.intensity
    if rule.rule != "fixed" or rule.low is None or rule.high is None:
        raise InputError(
            "study.dark_fraction",
            "threshold",
            f"{value} under intensity rule {rule.rule!r}",
            "a fixed intensity rule (low, high), or threshold_unit in [0, 1]",
        )
    return (value - rule.low) / (rule.high - rule.low)


def dark_fraction(
    spec: Mapping[str, Any] | None, contract: Contract | None, real: Shaped[np.ndarray, "n ..."]
) -> DarkFraction:
    """The check of config.study.dark_fraction: {rows, cols, threshold, slice}, threshold in the scan's unit.

    With `threshold_unit` instead the threshold is on unit images. Without a spec: the same box as a
    fraction of the image, and half the median of the real images' non-zero pixels.
    """
    grey = grey_slices(real, "study.dark_fraction")
    spec = dict(spec or {})
    unknown = set(spec) - {"rows", "cols", "threshold", "threshold_unit", "slice"}
    if unknown:
        raise InputError("config", "study.dark_fraction", sorted(unknown), "rows, cols, threshold, slice")
    rows = tuple(spec.get("rows") or (round(fraction * grey.shape[1]) for fraction in _BOX_ROWS))
    cols = tuple(spec.get("cols") or (round(fraction * grey.shape[2]) for fraction in _BOX_COLS))
    if spec.get("threshold_unit") is not None:
        threshold = float(spec["threshold_unit"])
    elif spec.get("threshold") is not None:
        if contract is None:
            raise InputError("config", "study.dark_fraction.threshold", spec["threshold"], "images with a contract")
        threshold = to_unit(float(spec["threshold"]), contract)
    else:
        bright = grey[grey > 0]
        threshold = 0.5 * float(np.median(bright)) / full_scale(grey.dtype) if bright.size else 0.5
    where = spec.get("slice")
    return DarkFraction((rows[0], rows[1]), (cols[0], cols[1]), threshold, None if where is None else float(where))


def spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Rank correlation with mean ranks for ties; NaN when either side is constant or has < 3 values."""
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def young_and_old(ages: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Mean value below YOUNG and above OLD years; NaN for an empty side."""
    sides = (values[ages < YOUNG], values[ages > OLD])
    low, high = (float(side.mean()) if len(side) else float("nan") for side in sides)
    return low, high


def head_mask(images: Float[np.ndarray, "n *spatial c"]) -> Bool[np.ndarray, "n ..."]:
    """Pixels inside the head: mean channel above a tenth of the bright level, holes filled, largest piece."""
    from scipy import ndimage

    masks = np.zeros(images.shape[:-1], bool)
    for index, grey in enumerate(images.mean(-1)):
        labels, count = ndimage.label(grey > 0.1 * np.quantile(grey, 0.98))
        if count:
            sizes = np.bincount(labels.ravel())[1:]
            masks[index] = ndimage.binary_fill_holes(labels == sizes.argmax() + 1)
    return masks


def _one_channel(images: Float[np.ndarray, "n *spatial c"]) -> Float[np.ndarray, "n ..."]:
    if images.shape[-1] != 1:
        raise InputError("tissue fractions", "image shape", images.shape[1:], "one channel, whose levels are tissues")
    return images[..., 0]


def tissue_thresholds(real: Float[np.ndarray, "n *spatial 1"]) -> tuple[float, float]:
    """Two grey levels that part CSF, grey and white matter of real unit images (multi-level Otsu)."""
    from skimage.filters import threshold_multiotsu

    inside = _one_channel(real)[:200][head_mask(real[:200])]
    if inside.size < 100 or len(np.unique(inside)) < 3:
        return 1 / 3, 2 / 3
    low, high = threshold_multiotsu(inside, classes=3)
    return float(low), float(high)


def tissue_fractions(
    images: Float[np.ndarray, "n *spatial 1"], thresholds: tuple[float, float]
) -> Float[np.ndarray, "n 3"]:
    """Fractions of the head that are dark (CSF), middle (grey) and bright (white); rows sum to 1."""
    fractions = np.zeros((len(images), 3))
    for index, (grey, mask) in enumerate(zip(_one_channel(images), head_mask(images), strict=True)):
        classes = np.digitize(grey[mask], thresholds)
        fractions[index] = np.bincount(classes, minlength=3) / max(len(classes), 1)
    return fractions


def symmetry(images: Float[np.ndarray, "n *spatial c"]) -> Float[np.ndarray, " n"]:
    """Correlation of each image with its left-right mirror, after moving the head's middle to the centre.

    Left and right are the columns of a slice and the first axis of a volume, as in the contract.
    """
    sideways = 0 if images.ndim == 5 else 1
    values = np.full(len(images), np.nan)
    for index, (image, mask) in enumerate(zip(images, head_mask(images), strict=True)):
        inside = np.flatnonzero(np.moveaxis(mask, sideways, 0).reshape(mask.shape[sideways], -1).any(1))
        if not len(inside):
            continue
        strip = np.moveaxis(image, sideways, 0)[inside[0] : inside[-1] + 1].astype(np.float64)
        variance = strip.std() ** 2
        if variance:
            values[index] = ((strip - strip.mean()) * (strip[::-1] - strip.mean())).mean() / variance
    return values
