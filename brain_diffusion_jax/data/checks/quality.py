"""Per-scan measurements and flags: is this a whole, aligned, skull-stripped brain?

Every scan is looked at on a coarse grid of MNI space (4 mm) and compared with a reference brain made by
`phantom_anatomy`, so that one scan can be judged without a cohort and no person's scan ships with the
package. A measurement is flagged beyond a limit. The limits were set on real skull-stripped MNI scans so
that few good ones are flagged; where a cohort as a whole breaks one of them (it was prepared in another
way), that limit is replaced by the cohort's own median and spread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from brain_diffusion_jax.data.checks import detail, orientation
from brain_diffusion_jax.data.phantoms import phantom_anatomy, phantom_scan
from brain_diffusion_jax.data.prepare.nifti import MNI_2MM, Grid, Volume, box_grid, resample
from brain_diffusion_jax.errors import InputError

COARSE: Grid = box_grid((46, 55, 46), (4.0, 4.0, 4.0), (-90.0, -126.0, -72.0))  # symmetric in x: voxel i mirrors 45 - i
TISSUE = 0.4  # of the scan's 90th percentile: grey and white matter, not fluid
BRIGHT = 1.3  # brighter than any brain tissue: fat, skull, vessels
FLOOR_MM = -52.0  # below it necks differ between good scans
SMALL_COHORT = 20  # fewer scans have no median worth trusting
SPREADS = 6.0  # a cohort's own limit: this many robust standard deviations from its median
SMALLEST_MM = 40.0  # a scan that is thinner along an axis holds no brain; a header in metres says 0.2
NECK_NOTE = 0.08  # more tissue below the brain than this (fraction of the brain) is noted


@dataclass(frozen=True)
class Measure:
    """bad: "low" or "high" is suspicious; limit: for skull-stripped scans in MNI space. {turn} in says: a direction."""

    bad: str
    limit: float
    says: str


MEASURES: dict[str, Measure] = {
    "correlation": Measure("low", 0.735, "does not look like an upright, aligned brain"),
    "overlap": Measure("low", 0.80, "fills another part of the grid than a brain does"),
    "cerebellum": Measure("low", 0.68, "cerebellum missing or elsewhere"),
    "bright_rim": Measure("high", 0.008, "skull, scalp or fat left around the brain"),
    "outside": Measure("high", 0.008, "tissue outside a brain's place"),
    "missing": Measure("high", 0.098, "parts of the brain missing or elsewhere"),
    "worst_block": Measure("low", 0.32, "one part does not look like the brain there"),
    "symmetry": Measure("low", 0.835, "left and right differ in outline"),
    "upright": Measure("low", 0.14, "inside, it fits as well or better a brain that lies along {turn}, not R-A-S"),
    "sharpness": Measure("low", 0.27, "blurred, or enlarged from a coarse scan"),
    "contrast": Measure("low", 0.12, "hardly any contrast of white and grey: a mask, or blown out"),
    "gaps": Measure("high", 0.0, "planes missing or black inside the brain"),
    "repeats": Measure("high", 0.05, "planes that repeat their neighbour"),
    "few_values": Measure("high", 0.25, "few distinct values: a mask or a label image"),
    "scale": Measure("high", 1.0, "intensities in another unit than the cohort's (half or double and more)"),
}


class Flag(NamedTuple):
    """One reason to look at a scan."""

    measure: str
    value: float
    limit: float
    says: str


@dataclass(frozen=True)
class Assessment:
    """measurements: name -> value; flags: reasons for suspicion; notes: worth knowing, not suspicious."""

    measurements: dict[str, float]
    flags: tuple[Flag, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reference:
    """What measurements compare with, computed once on COARSE."""

    smooth: Float[np.ndarray, "x y z"]
    brain: Bool[np.ndarray, "x y z"]
    near: Bool[np.ndarray, "x y z"]
    depth: Float[np.ndarray, "x y z"]  # voxels inside the outline
    distance: Float[np.ndarray, "x y z"]  # voxels outside it
    cerebellum: Bool[np.ndarray, "x y z"]
    directions: orientation.Directions
    blocks: tuple[np.ndarray, ...] = field(default_factory=tuple)


def _coordinates() -> list[np.ndarray]:
    axes = [np.arange(n) * 4.0 + COARSE.affine[i, 3] for i, n in enumerate(COARSE.shape)]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


@lru_cache(maxsize=1)
def _reference() -> _Reference:
    shape = phantom_anatomy.Shape(
        scale=1.0, ventricle_fraction=0.014, sulcus_mm=0.5, cortex_mm=3.0, warp_mm=0.0, folding=0.0
    )
    rng = np.random.default_rng(0)
    made = phantom_scan.t1_weighted(phantom_anatomy.build(shape, rng), rng, noise=0.0, bias=0.0)
    scan = coarse(Volume(made, MNI_2MM.affine))
    x, y, z = _coordinates()
    brain = scan > TISSUE
    upper = np.broadcast_to(z > FLOOR_MM, brain.shape)
    depth = ndimage.distance_transform_edt(brain)
    near = ndimage.binary_dilation(brain & upper, iterations=2) & upper
    thirds = np.digitize(y, [-50.0, 10.0])
    blocks = tuple(
        np.flatnonzero(near & (side * x >= 0) & (thirds == third) & ((z < 5) == low))
        for side in (-1, 1)
        for third in range(3)
        for low in (False, True)
    )
    smooth = ndimage.gaussian_filter(scan, 1.0)
    return _Reference(
        smooth=smooth,
        brain=brain & upper,
        near=near,
        depth=depth,
        distance=ndimage.distance_transform_edt(~brain),
        cerebellum=brain & (z < -20) & (z > FLOOR_MM) & (y < -50) & (depth > 1),
        directions=orientation.directions(smooth, brain & upper),
        blocks=blocks,
    )


def coarse(volume: Volume) -> Float[np.ndarray, "46 55 46"]:
    """The scan on the coarse grid, its 90th percentile (white matter, nearly) at 1.

    Raises InputError where most of the scan lies outside MNI space, or nothing of it meets the grid.
    """
    extent_mm = np.array(volume.data.shape) * volume.spacing_mm
    if extent_mm.min() < SMALLEST_MM:
        found = " x ".join(f"{mm:.3g}" for mm in extent_mm) + " mm"
        expected = f"{SMALLEST_MM:g} mm or more along each axis (is the header in metres?)"
        raise InputError(volume.path, "size", found, expected)
    data = resample(volume, COARSE.shape, COARSE.affine).data
    if not (level := detail.bright_level(data)):
        raise InputError(volume.path, "voxels", "nothing but 0 inside MNI space", "a brain")
    return data / level


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def smoothed(scan: Float[np.ndarray, "46 55 46"]) -> Float[np.ndarray, "46 55 46"]:
    """A scan from `coarse` as it is compared with the reference: vessels and fat cut off, 4 mm smooth."""
    return ndimage.gaussian_filter(np.clip(scan, 0, BRIGHT), 1.0)


def reference_correlation(smooth: Float[np.ndarray, "46 55 46"]) -> float:
    """Correlation of a `smoothed` scan with the reference, in and near the brain: `correlation` of `measure`."""
    near, reference = _reference().near, _reference().smooth
    return _correlation(smooth[near], reference[near])


def measure(scan: Float[np.ndarray, "46 55 46"]) -> dict[str, float]:
    """Measurements of a scan from `coarse`: those of MEASURES (fractions and correlations), and
    `volume_litres` of tissue and `neck`, tissue below the brain's floor as a fraction of the brain.
    """
    reference = _reference()
    z = _coordinates()[2]
    upper = np.broadcast_to(z > FLOOR_MM, scan.shape)
    tissue = scan > TISSUE
    brain = tissue & upper
    size, own_size = reference.brain.sum(), max(int(brain.sum()), 1)
    smooth = smoothed(scan)
    above_eyes = z > -20
    lead, turn = orientation.compare(reference.directions, smooth)
    rim = (reference.distance <= 3) & (reference.depth <= 3) & above_eyes
    return {
        "correlation": reference_correlation(smooth),
        "overlap": float(2 * (brain & reference.brain).sum() / (own_size + size)),
        "cerebellum": float(tissue[reference.cerebellum].mean()),
        "bright_rim": float(((scan > BRIGHT) & rim).sum() / size),
        "outside": float((tissue & (reference.distance > 1.5) & above_eyes).sum() / size),
        "missing": float((~tissue & (reference.depth > 2) & upper).sum() / size),
        "worst_block": min(_correlation(smooth.ravel()[b], reference.smooth.ravel()[b]) for b in reference.blocks),
        "symmetry": float((brain & brain[::-1]).sum() / own_size),
        "upright": lead,
        "turn": float(turn),
        "volume_litres": float(brain.sum() * 64e-6),
        "neck": float((tissue & (reference.distance > 1.5) & (z <= -20)).sum() / size),
    }


def measure_volume(volume: Volume) -> dict[str, float]:
    """`measure` of the scan and `detail.measure` of its own voxels."""
    return measure(coarse(volume)) | detail.measure(volume)


def limits(measurements: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], list[str]]:
    """The limit of each measure for these scans, and a line for each that the cohort moved.

    The built-in limit holds, unless at least SMALL_COHORT scans say by their median that they were
    prepared in another way; then the limit is median -+ SPREADS robust standard deviations. Where most
    scans lie another way than their header says, `upright` stays: they are flagged, not the standard.
    """
    chosen = {name: measure.limit for name, measure in MEASURES.items()}
    moved: list[str] = []
    if len(measurements) < SMALL_COHORT:
        return chosen, moved
    for name, measure in MEASURES.items():
        values = np.array([m[name] for m in measurements if name in m])
        if not len(values):
            continue
        median = float(np.median(values))
        if name == "scale":  # a distance from the median already: raw scanner units differ by as much as they differ
            chosen[name] = max(measure.limit, SPREADS * 1.4826 * median)
            continue
        if not _beyond(median, measure.limit, measure.bad) or (name == "upright" and median < 0):
            continue
        sign = -1.0 if measure.bad == "low" else 1.0
        spread = 1.4826 * float(np.median(np.abs(values - median)))  # a standard deviation
        chosen[name] = median + sign * max(SPREADS * spread, 0.02 * abs(median), 1e-6)
        moved.append(
            f"{name}: the median of these scans is {median:.3g}, beyond the limit {measure.limit:g} for "
            f"skull-stripped scans in MNI space; using {chosen[name]:.3g} from the scans themselves"
        )
    return chosen, moved


def _beyond(value: float, limit: float, bad: str) -> bool:
    return value < limit if bad == "low" else value > limit


def _with_scale(measurements: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Each scan's `scale`: octaves between its bright tissue and the cohort's, where there is a cohort."""
    levels = [np.log2(m["level"]) for m in measurements if "level" in m]
    if len(levels) < SMALL_COHORT:
        return [dict(m) for m in measurements]
    middle = float(np.median(levels))
    return [dict(m, scale=abs(float(np.log2(m["level"])) - middle)) if "level" in m else dict(m) for m in measurements]


def assess(measurements: Sequence[Mapping[str, float]]) -> tuple[list[Assessment], list[str]]:
    """Flags for each scan's measurements, and the lines of `limits`. Order is kept."""
    scans = _with_scale(measurements)
    chosen, moved = limits(scans)
    assessments = []
    for values in scans:
        turn = str(orientation.TURNS[int(values["turn"])]) if "turn" in values else "another way"
        flags = tuple(
            Flag(name, values[name], chosen[name], measure.says.format(turn=turn))
            for name, measure in MEASURES.items()
            if name in values and _beyond(values[name], chosen[name], measure.bad)
        )
        notes = ("neck or other tissue left below the brain",) if values["neck"] > NECK_NOTE else ()
        assessments.append(Assessment(values, flags, notes))
    return assessments, moved


def fingerprint(volume: Volume) -> str:
    """A hash of the voxels: equal for copies of one scan, whatever their file names and compression."""
    return hashlib.sha256(np.ascontiguousarray(volume.data).tobytes()).hexdigest()[:16]
