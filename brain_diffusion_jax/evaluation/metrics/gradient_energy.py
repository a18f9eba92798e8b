"""Gradient energy: how much fine structure an image has; blur lowers it, noise raises it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.evaluation.metrics.paired_images import Images
from brain_diffusion_jax.pixels import to_unit


def gradient_energy(images: Images) -> Float[np.ndarray, " n"]:
    """Mean length of the gradient of each image, unit pixels: central differences, averaged over pixels and channels.

    images: stored or unit [n, *spatial, c], one in memory at a time; each axis at least 2 pixels.
    """
    found = np.zeros(len(images))
    for index, image in enumerate(images):
        slopes = np.gradient(to_unit(image), axis=tuple(range(image.ndim - 1)))
        found[index] = np.sqrt(sum(np.square(slope) for slope in slopes)).mean(dtype=np.float64)
    return found
