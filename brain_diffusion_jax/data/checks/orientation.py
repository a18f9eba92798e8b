"""Which way does a brain lie inside its outline? White, grey and fluid against the reference's, turned every way.

A head that was registered wrongly and stretched to fill the template passes every measure of outline. Inside, it
does not: the pattern of tissue in an ellipsoid within the brain's box is compared with the reference under the 24
rotations of the box and their mirror images. What all of them share (grey around white) is taken off first, so
that only what tells directions apart is compared.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import ndimage

_SIZE = 24  # points along each side of the box
_RADIUS = 0.9  # of the half sides: inside the cortex nearly everywhere


class Turn(NamedTuple):
    """Axis `order[i]` of the turned array lies along axis i, reversed where `flips[i]` is -1."""

    order: tuple[int, ...]
    flips: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """The array with its axes reordered and reversed."""
        return array.transpose(self.order)[tuple(slice(None, None, f) for f in self.flips)]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """The array that `apply` turns into this one."""
        return array[tuple(slice(None, None, f) for f in self.flips)].transpose(np.argsort(self.order))

    def __str__(self) -> str:
        """Where x, y and z of an array that `apply` turns upright run in the head; left and right look alike."""
        letters = [("R/L", "R/L"), ("A", "P"), ("S", "I")]
        words = [""] * 3
        for ours, (theirs, flip) in enumerate(zip(self.order, self.flips, strict=True)):
            words[theirs] = letters[ours][0 if flip > 0 else 1]
        return "-".join(words)


TURNS = tuple(
    Turn(order, flips) for order in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)
)
UPRIGHT = tuple(turn.order == (0, 1, 2) and turn.flips[1:] == (1, 1) for turn in TURNS)  # and its left-right mirror


class Directions(NamedTuple):
    """Made by `directions`. low, high: corners of the box, voxels; patterns: one row a turn of TURNS, unit length."""

    low: Float[np.ndarray, " 3"]
    high: Float[np.ndarray, " 3"]
    patterns: Float[np.ndarray, "48 n"]


def _inside(smooth: Float[np.ndarray, "x y z"], low: np.ndarray, high: np.ndarray) -> Float[np.ndarray, "s s s"]:
    sides = [np.linspace(first, last, _SIZE) for first, last in zip(low, high, strict=True)]
    return ndimage.map_coordinates(smooth, np.meshgrid(*sides, indexing="ij"), order=1)


def _ball() -> np.ndarray:
    side = np.linspace(-1, 1, _SIZE) ** 2
    return side[:, None, None] + side[None, :, None] + side[None, None, :] < _RADIUS**2


def directions(smooth: Float[np.ndarray, "x y z"], brain: np.ndarray) -> Directions:
    """What `compare` needs of a reference brain. smooth: its scan; brain: its mask, which sets the box."""
    low, high = np.percentile(np.argwhere(brain), [0.5, 99.5], axis=0)
    box = _inside(smooth, low, high)
    patterns = np.stack([turn.undo(box)[_ball()] for turn in TURNS])
    patterns -= patterns.mean(0)
    patterns -= patterns.mean(1, keepdims=True)
    return Directions(low, high, patterns / np.linalg.norm(patterns, axis=1, keepdims=True))


def compare(reference: Directions, smooth: Float[np.ndarray, "x y z"]) -> tuple[float, int]:
    """(lead, best): by how much the upright turn correlates better than any other, and which other is best.

    best: index of the turn of TURNS that would set the scan upright. A scan whose grey is brighter than its white
    correlates negatively; where the upright turn does so most strongly of all, sizes are compared. A constant
    inside gives a lead of 0.
    """
    inside = _inside(smooth, reference.low, reference.high)[_ball()]
    inside = inside - inside.mean()
    scores = reference.patterns @ (inside / max(float(np.linalg.norm(inside)), 1e-9))
    upright = np.array(UPRIGHT)
    sizes = np.abs(scores)
    if upright[int(sizes.argmax())]:
        inverted = scores[int(sizes.argmax())] < 0
        scores = sizes if inverted else scores
    others = np.where(upright, -np.inf, scores)
    best = int(others.argmax())
    return float(scores[upright].max() - others[best]), best
