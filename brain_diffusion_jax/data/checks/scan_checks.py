"""Would an age from this scan mean anything? Checks before prediction, in words a user can act on.

An age network answers anything. It was trained on skull-stripped brains in MNI space, so a head with its
skull on, an unregistered brain or an array whose header lies about its axes gives a plausible number
that is wrong. The measurements are those of `quality`; here they become reasons.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from brain_diffusion_jax.data.checks import quality
from brain_diffusion_jax.data.prepare import intensity
from brain_diffusion_jax.data.prepare.nifti import Volume
from brain_diffusion_jax.errors import InputError

# Turned, a scan must look this much more like a brain (correlation), and this much, before its header is blamed.
_CLEARLY = 0.08
_UPRIGHT = 0.7
# Middle in x and y and top in z of a brain in MNI space, in voxels of the coarse grid.
_BOX = (22.5, 26.5, 36.0)
KINDS = ("position", "orientation", "skull", "registration", "intensity")


class Finding(NamedTuple):
    """kind: one of KINDS; found and expected as in InputError."""

    kind: str
    found: str
    expected: str


def check_brain(volume: Volume) -> list[Finding]:
    """Reasons why `volume` is no skull-stripped brain in MNI space; [] if it is one.

    Cannot tell left from right: brains are too alike for that.
    """
    try:
        scan = quality.coarse(volume)
    except InputError as error:
        return [Finding("position", str(error.found), str(error.expected))]
    measured = quality.measure(scan)
    flags = quality.assess([measured])[0][0].flags
    if not flags:
        return []
    said = ", ".join(f"{f.measure} {f.value:.2f} (limit {f.limit:g})" for f in flags)
    turned = _better_turn(scan, measured["correlation"])
    if turned is not None:
        return [
            Finding(
                "orientation",
                f"a brain that lies {turned} ({said})",
                "a header whose axes agree with the voxels; correct the file's affine (nothing was turned)",
            )
        ]
    names = {f.measure for f in flags}
    if "bright_rim" in names or measured["outside"] > 0.05:
        return [
            Finding(
                "skull",
                f"bright tissue around and outside the brain: skull, scalp or neck ({said})",
                "a skull-stripped scan (HD-BET, SynthStrip, BET) registered to MNI",
            )
        ]
    return [
        Finding(
            "registration",
            f"a brain that does not lie as in MNI space ({said})",
            "a scan registered (affine) to MNI, the whole brain in view",
        )
    ]


def _better_turn(scan: np.ndarray, correlation: float) -> str | None:
    """How the brain lies in the grid, where turned upright it looks clearly more like one; else None.

    Every order of the axes and every flip but the left-right mirror, which looks like a brain as well.
    """
    tissue = np.argwhere(scan > quality.TISSUE)
    if not len(tissue):
        return None
    # A tilted brain looks better once centred, with no turn at all.
    unturned = max(correlation, quality.measure(_centred(scan))["correlation"])
    best, name = max(unturned + _CLEARLY, _UPRIGHT), None
    for order in itertools.permutations(range(3)):
        for flips in ((1, front, up) for front in (1, -1) for up in (1, -1)):
            if order == (0, 1, 2) and flips == (1, 1, 1):
                continue
            turned = _centred(scan.transpose(order)[tuple(slice(None, None, f) for f in flips)])
            value = quality.measure(turned)["correlation"]
            if value > best:
                best, name = value, _describe(order, flips)
    return name


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


def _describe(order: tuple[int, ...], flips: tuple[int, ...]) -> str:
    """Where the array's x, y and z run in the head."""
    letters = [("R/L", "R/L"), ("A", "P"), ("S", "I")]
    words = [""] * 3
    for ours, (theirs, flip) in enumerate(zip(order, flips)):
        words[theirs] = letters[ours][0 if flip > 0 else 1]
    return f"along {'-'.join(words)} where its header, turned to RAS, says R-A-S"


def check_fixed_intensity(volume: Volume, low: float, high: float) -> list[Finding]:
    """Reasons why the fixed window [low, high] of a contract does not fit this scan; [] if it does."""
    note = intensity.check_fixed_window(volume.data, intensity.Window(low, high), volume.path)
    if note is None:
        return []
    found = note.partition("found ")[2].partition(";")[0]
    return [Finding("intensity", found, f"values that fill the model's fixed window [{low:g}, {high:g}]")]


def refuse(volume: Volume, findings: list[Finding], allowed: tuple[str, ...] = ()) -> list[str]:
    """Raise InputError for the first finding that is not allowed; the allowed ones as warnings."""
    for finding in findings:
        if finding.kind not in allowed:
            raise InputError(volume.path, finding.kind, finding.found, finding.expected)
    return [f"{volume.path}: {f.kind}: found {f.found}; expected {f.expected}" for f in findings]
