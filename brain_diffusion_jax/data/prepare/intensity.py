"""Intensity rules: from a scan's own unit to stored pixels, and back.

stored = full_scale * clip((value - low) / (high - low), 0, 1); a rule only says how a scan's
window [low, high] is found. full_scale is 255 for uint8 and 1 for float32.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from brain_diffusion_jax import contract
from brain_diffusion_jax.errors import InputError, require_one_of
from brain_diffusion_jax.pixels import full_scale, to_uint8

RULES = ("fixed", "percentile", "white_matter")


class Window(NamedTuple):
    """Intensities, in the scan's unit, stored as 0 and as full scale."""

    low: float
    high: float


@dataclass(frozen=True)
class IntensityRule:
    """rule: fixed (low, high in the scan's unit), percentile (low, high in per cent of the voxels
    above 0; low 0 keeps the scan's zero) or white_matter (the white-matter peak lands on `top`).

    top: fraction of full scale that the percentile `high`, or the peak, is stored as; 185/255 with
    high=97 is the rule of DeepBrainNet. dtype: uint8 or float32.
    """

    rule: str = "percentile"
    low: float = 0.0
    high: float = 99.5
    dtype: str = "uint8"
    top: float = 1.0

    def __post_init__(self) -> None:
        require_one_of(self.rule, RULES, "prepare.intensity", "rule")
        require_one_of(self.dtype, ("uint8", "float32"), "prepare.intensity", "dtype")
        if not 0 < self.top <= 1:
            raise InputError("prepare.intensity", "top", self.top, "a fraction of full scale in (0, 1]")
        if self.rule != "white_matter" and not self.low < self.high:
            raise InputError("prepare.intensity", "low, high", (self.low, self.high), "low < high")
        if self.rule == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise InputError("prepare.intensity", "low, high", (self.low, self.high), "percentiles in [0, 100]")

    def section(self) -> contract.Intensity:
        """For Contract.intensity: the rule and how to go back to the scan's unit."""
        where = "low, high above" if self.rule == "fixed" else "the scan's low, high in scans.csv"
        scale = full_scale(self.dtype)
        inverse = f"value = low + stored / {scale:g} * (high - low), with {where}"
        return contract.Intensity(**asdict(self), inverse=inverse)


def white_matter_peak(data: np.ndarray) -> float:
    """The intensity of the white-matter peak of a T1: the highest clear mode of the voxels above 0.

    The histogram (256 bins up to the 99.8th percentile, smoothed) is searched from the bright end
    for a local maximum at least a third as high as the highest one in the brighter half.
    """
    from scipy import ndimage

    values = data[data > 0]
    if values.size < 100:
        return float(values.max()) if values.size else 0.0
    top = float(np.percentile(values, 99.8, overwrite_input=True))  # no second copy of a large scan
    counts, edges = np.histogram(values, bins=256, range=(0.0, top))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 4)
    # Below a third of the bright end lie background noise, fluid and scalp.
    first = len(smooth) // 3
    peaks = [i for i in range(first, len(smooth) - 1) if smooth[i] > smooth[i - 1] and smooth[i] >= smooth[i + 1]]
    if not peaks:
        return float(np.percentile(values, 90))
    tallest = max(smooth[i] for i in peaks)
    best = max(i for i in peaks if smooth[i] >= tallest / 3)
    return float((edges[best] + edges[best + 1]) / 2)


def find_window(data: np.ndarray, rule: IntensityRule, where: object = "scan") -> Window:
    """The window of one scan, in its own unit; raises InputError where the scan offers none."""
    if rule.rule == "fixed":
        return Window(rule.low, rule.high)
    if rule.rule == "white_matter":
        low, high = 0.0, white_matter_peak(data) / rule.top
    else:
        values = data[data > 0]
        if values.size == 0:
            raise InputError(where, "intensity", "no voxel above 0", "a scan with a head in it")
        # overwrite_input reorders `values`, which saves a second copy of a large scan.
        low = float(np.percentile(values, rule.low, overwrite_input=True)) if rule.low > 0 else 0.0
        high = low + (float(np.percentile(values, rule.high, overwrite_input=True)) - low) / rule.top
    if not low < high:
        raise InputError(where, "intensity window", (low, high), f"low < high by the rule {rule.rule!r}")
    return Window(low, high)


def to_stored(data: np.ndarray, window: Window, dtype: str) -> np.ndarray:
    """Intensities in the scan's unit to stored pixels of `dtype`."""
    return as_stored(np.clip((np.asarray(data, np.float32) - window.low) / (window.high - window.low), 0.0, 1.0), dtype)


def as_stored(unit: np.ndarray, dtype: str) -> np.ndarray:
    """Unit pixels to stored pixels of `dtype`."""
    return to_uint8(unit) if dtype == "uint8" else unit.astype(np.float32)


def check_fixed_window(data: np.ndarray, window: Window, path: str | Path) -> str | None:
    """A warning where a fixed window does not fit the scan: nearly all clipped, or nearly all dark."""
    values = data[data > 0]
    if values.size == 0:
        return f"{path}: intensity: found no voxel above 0; expected a head"
    high = float(np.percentile(values, 99, overwrite_input=True))
    clipped = float((values > window.high).mean())
    if clipped > 0.2:
        return (
            f"{path}: intensity: found {100 * clipped:.0f} % of voxels above the fixed high {window.high:g} "
            f"(99th percentile {high:g}); expected few: is scl_slope or the unit another?"
        )
    if high < window.low + 0.1 * (window.high - window.low):
        return (
            f"{path}: intensity: found the 99th percentile {high:g} in the darkest tenth of the fixed window "
            f"[{window.low:g}, {window.high:g}]; expected it to fill the window: is the unit another?"
        )
    return None
