"""Radial power spectra of slices and volumes, in bands of frequency up to Nyquist."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.evaluation.metrics.paired_images import Images
from brain_diffusion_jax.pixels import to_unit

BANDS = 8


def relative_frequency(spatial: Sequence[int]) -> Float[np.ndarray, "*spatial"]:
    """Of each coefficient of a cosine transform: the length of its frequency, 1 at Nyquist along an axis."""
    axes = [np.arange(size) / size for size in spatial]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))


def radial_spectrum(images: Images, bands: int = BANDS) -> Float[np.ndarray, "n bands"]:
    """Mean energy of the orthonormal cosine transform in `bands` equal bands of frequency from 0 to Nyquist.

    The mean of the image is left out, and what lies beyond Nyquist, in the corners. A cosine transform continues the
    image by its mirror image, so that its borders add no high frequencies. Half the amplitude is a quarter of the
    energy. images: stored or unit [n, *spatial, c], averaged over channels, one in memory at a time.
    """
    from scipy import fft

    spatial = images.shape[1:-1]
    frequency = relative_frequency(spatial)
    band = np.minimum((frequency * bands).astype(int), bands)
    band.flat[0] = bands  # the mean
    counts = np.bincount(band.ravel(), minlength=bands + 1)[:bands]
    found = np.zeros((len(images), bands))
    for index, image in enumerate(images):
        energy = fft.dctn(to_unit(image), axes=range(len(spatial)), norm="ortho") ** 2
        sums = np.bincount(band.ravel(), energy.mean(-1).ravel(), minlength=bands + 1)[:bands]
        found[index] = sums / np.maximum(counts, 1)
    return found
