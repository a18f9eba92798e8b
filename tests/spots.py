"""Made-up labelled images for tests of gate and classes: discs of individual texture with a bright spot."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from brain_diffusion_jax.evaluation.labelled import Labelled

SIZE, CLASSES, RATE = 32, 3, 0.05


def make(count: int, seed: int) -> Labelled:
    """Discs with individual texture; the class is where a bright spot lies."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    labels = rng.integers(0, CLASSES, count)
    images = []
    for label in labels:
        disc = (x - rng.normal(0, 0.02)) ** 2 + (y - rng.normal(0, 0.02)) ** 2 < (0.4 + rng.normal(0, 0.015)) ** 2
        angle = 2 * np.pi * label / CLASSES + rng.normal(0, 0.15)
        spot = np.exp(-((x - 0.22 * np.cos(angle)) ** 2 + (y - 0.22 * np.sin(angle)) ** 2) / 0.006)
        grain = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 0.9)
        image = disc * (0.4 + 0.09 * grain / grain.std() + 0.35 * spot) + 0.01 * rng.standard_normal((SIZE, SIZE))
        images.append(np.clip(image, 0, 1))
    return Labelled(np.asarray(images, np.float32)[..., None], labels)


def blur(p):
    return Labelled(ndimage.gaussian_filter(p.images, (0, 1.5, 1.5, 0)), p.labels)
