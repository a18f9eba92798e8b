"""From tissue fractions to a T1-weighted scan: contrast, bias field, blur and noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from brain_diffusion_jax.data.phantoms import phantom_anatomy

# T1 intensity relative to white matter, as in a normalised scan.
WHITE, GREY, CSF = 1.03, 0.70, 0.20
DEEP_GREY = {"caudate": 0.74, "putamen": 0.79, "pallidum": 0.92, "thalamus": 0.86, "hippocampus": 0.70}
# Stored value = 100 x intensity, clipped to a byte (the header's slope says so).
STORED_PER_UNIT = 100.0


def t1_weighted(
    anatomy: phantom_anatomy.Anatomy,
    rng: np.random.Generator,
    *,
    noise: float = 0.016,
    bias: float = 0.04,
    blur_voxels: float = 0.58,
    contrast: float = 1.0,
) -> np.ndarray:
    """A scan float32 [91, 109, 91] of the MNI 2 mm grid, white matter near 1, background exactly 0.

    noise: standard deviation; bias: RMS of the multiplicative field; contrast: 1 keeps grey at its
    usual distance from white, below 1 brings them together (old age).
    """
    grey = WHITE - contrast * (WHITE - GREY)
    texture = 1.0 + 0.02 * phantom_anatomy.smooth_field(rng, 9)
    image = anatomy.white * WHITE + anatomy.grey * grey * texture + anatomy.csf * CSF
    for name, fraction in anatomy.deep.items():
        image += fraction * (DEEP_GREY[name] - grey)
    image = ndimage.gaussian_filter(image, blur_voxels, mode="constant")
    image *= 1.0 + bias * phantom_anatomy.smooth_field(rng, 3)
    grain = rng.standard_normal(image.shape, np.float32)
    image += noise * grain
    # Skull stripping takes the fluid that lies open to the outside with it.
    outside = anatomy.head <= 0.3
    outside = ndimage.binary_dilation(outside, mask=outside | (image < 0.42), iterations=3)
    edge = ndimage.gaussian_filter((~outside).astype(np.float32), 0.6)
    image = np.where(edge < 0.2, 0.0, np.clip(image, 0.02, None) * edge)
    volume = np.zeros(phantom_anatomy.SHAPE, np.float32)
    volume[phantom_anatomy.BOX] = image
    return volume
