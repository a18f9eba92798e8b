"""Images compared one with one, slices and volumes alike: checked, and read batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import check_images

Images = Shaped[np.ndarray, "n *spatial c"]
PairFn = Callable[[Float[Array, "b *spatial c"], Float[Array, "b *spatial c"]], tuple[Array, ...]]
# Pixels of one batch: about 16 MiB of float32 a side, so that what a score keeps fits into a few hundred MiB.
_PIXELS = 2**22


def check_sets(first: Images, second: Images) -> None:
    """Refuses sets whose images can't be compared: other shapes, or neither [n, rows, cols, c] nor [n, x, y, z, c]."""
    for where, images in (("first set", first), ("second set", second)):
        if images.ndim not in (4, 5) or 0 in images.shape:
            raise InputError(where, "shape", images.shape, "[n, rows, cols, c] or [n, x, y, z, c], none of them 0")
    if first.shape[1:] != second.shape[1:]:
        raise InputError("second set", "shape", second.shape[1:], first.shape[1:])


def batch_of(shape: Sequence[int], pixels: int = _PIXELS) -> int:
    """How many images [*spatial, c] one batch holds: at least one."""
    return max(1, pixels // int(np.prod(shape)))


def of_pairs(
    score: PairFn, first: Images, second: Images, pairs: Int[np.ndarray, "p 2"] | None = None
) -> list[Float[np.ndarray, " p"]]:
    """What `score` says of images first[pairs[:, 0]] and second[pairs[:, 1]]; of image i with image i without pairs.

    score: unit images [b, *spatial, c] twice -> arrays [b]; jitted here. One batch is in memory at a time.
    """
    check_sets(first, second)
    if pairs is None:
        if len(first) != len(second):
            raise InputError("second set", "images", len(second), len(first))
        pairs = np.stack([np.arange(len(first))] * 2, 1)
    if not len(pairs):
        raise InputError("pairs", "number", 0, "at least 1")
    size = min(batch_of(first.shape[1:]), len(pairs))
    run = jax.jit(score)
    parts = []
    for start in range(0, len(pairs), size):
        rows = pairs[start : start + size]
        padded = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), 0)])
        sides = (check_images(first[padded[:, 0]], "first set"), check_images(second[padded[:, 1]], "second set"))
        parts.append([np.asarray(values)[: len(rows)] for values in run(*map(jnp.asarray, sides))])
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
