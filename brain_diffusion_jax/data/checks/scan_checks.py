"""Would an age from this scan mean anything? Checks before prediction, in words a user can act on.

An age network answers anything. It was trained on skull-stripped brains in MNI space, so a head with its
skull on, an unregistered brain or an array whose header lies about its axes gives a plausible number
that is wrong. The measurements are those of `quality`; here they become reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from brain_diffusion_jax.data.checks import detail, quality
from brain_diffusion_jax.data.checks.orientation import TURNS, UPRIGHT
from brain_diffusion_jax.data.prepare import intensity
from brain_diffusion_jax.data.prepare.nifti import Volume
from brain_diffusion_jax.errors import InputError

# Turned, a scan must look this much more like a brain (correlation), and this much, before its header is blamed.
_CLEARLY = 0.08
_UPRIGHT = 0.7
# Of 244 good OASIS scans one has a bright rim of 0.009, all others below 0.005; a skull that is on has 0.028 and more.
_CERTAIN_RIM = 0.016
# Middle in x and y and top in z of a brain in MNI space, in voxels of the coarse grid.
_BOX = (22.5, 26.5, 36.0)
KINDS = ("position", "orientation", "skull", "registration", "detail", "intensity", "inputs")
_DETAIL = ("sharpness", "contrast", "gaps", "repeats", "few_values")


class Finding(NamedTuple):
    """kind: one of KINDS; found and expected as in InputError. certain: False where some good scans show it too."""

    kind: str
    found: str
    expected: str
    certain: bool = True


def check_brain(volume: Volume, ignore: Collection[str] = ()) -> list[Finding]:
    """Reasons why `volume` is no skull-stripped brain in MNI space; [] if it is one. ignore: names of measures.

    Cannot tell left from right: brains are too alike for that.
    """
    try:
        scan = quality.coarse(volume)
    except InputError as error:
        return [Finding("position", str(error.found), str(error.expected))]
    measured = quality.measure(scan) | detail.measure(volume)
    flags = [f for f in quality.assess([measured])[0][0].flags if f.measure not in ignore]
    corrupted = [f for f in flags if f.measure in _DETAIL]
    findings = [f for f in [_misplaced(scan, measured, [f for f in flags if f not in corrupted])] if f]
    if corrupted:
        found = ", ".join(f"{f.says} ({f.measure} {f.value:.2f}, limit {f.limit:g})" for f in corrupted)
        findings.append(Finding("detail", found, "a scan with the detail, planes and greys of an acquired one"))
    return findings


def _misplaced(scan: np.ndarray, measured: Mapping[str, float], flags: Sequence[quality.Flag]) -> Finding | None:
    """What the measures of place and outline say together."""
    if not flags:
        return None
    said = ", ".join(f"{f.measure} {f.value:.2f} (limit {f.limit:g})" for f in flags)
    turned = _better_turn(scan, measured["correlation"])
    # What is inside tells directions only where the outline is a brain's.
    names = {f.measure for f in flags}
    if turned is None and measured["upright"] < 0 and not names & {"overlap", "outside", "missing"}:
        turned = str(TURNS[int(measured["turn"])])
    if turned is not None:
        return Finding(
            "orientation",
            f"a brain that lies along {turned} where its header, turned to RAS, says R-A-S ({said})",
            "a header whose axes agree with the voxels; correct the file's affine (nothing was turned)",
        )
    if "bright_rim" in names or measured["outside"] > 0.05:
        return Finding(
            "skull",
            f"bright tissue around and outside the brain: skull, scalp or neck ({said})",
            "a skull-stripped scan (HD-BET, SynthStrip, BET) registered to MNI",
            certain=measured["bright_rim"] > _CERTAIN_RIM or measured["outside"] > 0.05,
        )
    return Finding(
        "registration",
        f"a brain that does not lie as in MNI space ({said})",
        "a scan registered (affine) to MNI, the whole brain in view",
    )


def _better_turn(scan: np.ndarray, correlation: float) -> str | None:
    """How the brain lies in the grid, where turned upright it looks clearly more like one; else None.

    Every order of the axes and every flip but the left-right mirror, which looks like a brain as well.
    """
    if not (scan > quality.TISSUE).any():
        return None
    # A tilted brain looks better once centred, with no turn at all.
    unturned = max(correlation, _after_centring(scan))
    best, name = max(unturned + _CLEARLY, _UPRIGHT), None
    for turn, upright in zip(TURNS, UPRIGHT, strict=True):
        if upright or turn.flips[0] < 0:
            continue
        value = _after_centring(turn.apply(scan))
        if value > best:
            best, name = value, str(turn)
    return name


def _after_centring(scan: np.ndarray) -> float:
    return quality.reference_correlation(quality.smoothed(_centred(scan)))


def _centred(scan: np.ndarray) -> np.ndarray:
    """On the coarse grid, with the box around the tissue where a brain's box lies."""
    tissue = np.argwhere(scan > quality.TISSUE)
    low, high = np.percentile(tissue, [0.5, 99.5], axis=0)
    # The top, not the middle in z, whatever hangs below the brain.
    have = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[2])
    shift = [round(wanted - h) for wanted, h in zip(_BOX, have)]
    out = np.zeros(quality.COARSE.shape, scan.dtype)
    source, target = [], []
    for size, room, step in zip(scan.shape, out.shape, shift):
        first = max(0, step)
        last = min(room, size + step)
        if first >= last:
            return out
        target.append(slice(first, last))
        source.append(slice(first - step, last - step))
    out[tuple(target)] = scan[tuple(source)]
    return out


def check_fixed_intensity(volume: Volume, low: float, high: float) -> list[Finding]:
    """Reasons why the fixed window [low, high] of a contract does not fit this scan; [] if it does."""
    note = intensity.check_fixed_window(volume.data, intensity.Window(low, high), volume.path)
    if note is None:
        return []
    found = note.partition("found ")[2].partition(";")[0]
    return [Finding("intensity", found, f"values that fill the model's fixed window [{low:g}, {high:g}]")]


def refuse(where: object, findings: list[Finding], allowed: tuple[str, ...] = ()) -> list[str]:
    """Raise InputError for the first finding that is not allowed; the allowed ones as warnings."""
    for finding in findings:
        if finding.kind not in allowed:
            raise InputError(where, finding.kind, finding.found, finding.expected)
    return [f"{where}: {f.kind}: found {f.found}; expected {f.expected}" for f in findings]
