"""Principal components of images that are many more pixels than images: through the products of images with images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.paired_images import Images
from brain_diffusion_jax.pixels import to_unit

_VALUES = 2**24  # pixels in memory as float32
_LEAST = 1e-7  # of the greatest variance: smaller ones are rounding


@dataclass(frozen=True)
class Components:
    """x = mean + scores @ basis. mean: float32 [*spatial, c]; basis: float32 [k, pixels], rows of length 1, the
    direction of most variance first; variances [k] of the scores of the images they were found in.

    Memory: 4 k bytes a pixel.
    """

    mean: np.ndarray
    basis: np.ndarray
    variances: np.ndarray

    def scores(self, images: Images) -> Float[np.ndarray, "n k"]:
        """Coordinates of stored or unit images along the basis; a block of pixels in memory at a time."""
        require_shape(images, self.mean.shape)
        found = np.zeros((len(images), len(self.basis)))
        for part, block in _columns(images, self.mean.ravel()):
            found += block @ self.basis[:, part].T
        return found

    def restore(self, scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n *spatial c"]:
        """The images with these coordinates, float32 and not clipped."""
        flat = self.mean.ravel() + scores.astype(np.float32) @ self.basis
        return flat.reshape(len(scores), *self.mean.shape)


def require_shape(images: Images, shape: tuple[int, ...]) -> None:
    """Refuses images of another shape [*spatial, c]."""
    if images.shape[1:] != shape:
        raise InputError("images", "shape", images.shape[1:], shape)


def _blocks(images: Images) -> Iterator[tuple[slice, np.ndarray]]:
    """Some pixels of all images at a time, float32 [n, some]: 64 MiB or so."""
    flat = images.reshape(len(images), -1)
    step = max(1, _VALUES // max(len(images), 1))
    for start in range(0, flat.shape[1], step):
        part = slice(start, start + step)
        yield part, to_unit(flat[:, part])


def _columns(images: Images, mean: Float[np.ndarray, " d"]) -> Iterator[tuple[slice, np.ndarray]]:
    """The same, centred."""
    for part, block in _blocks(images):
        yield part, block - mean[part]


def mean_image(images: Images) -> Float[np.ndarray, "*spatial c"]:
    """The mean of stored or unit images [n, *spatial, c], float32; a block of pixels in memory at a time."""
    if not len(images):
        raise InputError("images", "number", 0, "at least 1")
    parts = [block.mean(0, dtype=np.float64) for _, block in _blocks(images)]
    return np.concatenate(parts).astype(np.float32).reshape(images.shape[1:])


def principal_components(images: Images, count: int) -> Components:
    """The first `count` components of stored or unit images [n, *spatial, c]: at most n - 1, fewer where images repeat.

    The images stay as they are stored (a memory map is enough); what is added is the basis and an [n, n] matrix.
    Raises InputError for fewer than 2 images, count < 1, and images that are all equal.
    """
    if count < 1 or len(images) < 2:
        raise InputError("components", "count", f"{count} of {len(images)} images", "at least 1, of at least 2 images")
    mean = mean_image(images)
    gram = np.zeros((len(images), len(images)))
    for _, block in _columns(images, mean.ravel()):
        gram += block @ block.T
    variances, directions = np.linalg.eigh(gram)
    variances, directions = variances[::-1], directions[:, ::-1]
    kept = min(count, int((variances > _LEAST * max(variances[0], 1e-30)).sum()), len(images) - 1)
    if kept == 0:
        raise InputError("components", "images", "all equal", "images that differ")
    weights = (directions[:, :kept] / np.sqrt(variances[:kept])).astype(np.float32)
    basis = np.empty((kept, mean.size), np.float32)
    for part, block in _columns(images, mean.ravel()):
        basis[:, part] = weights.T @ block
    return Components(mean, basis, variances[:kept] / (len(images) - 1))
