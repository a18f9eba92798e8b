"""What blur and noise change in a picture: energies of spatial bands, quietness of flat regions, edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_BANDS = 5
_FLOOR = 1e-4  # in unit intensity: a uint8 picture resolves no finer


class Texture(NamedTuple):
    """energies: log energy of octave bands, finest first [n, 5]. quiet: log of the 20 % quantile of local
    standard deviations (noise raises it). edge: log of the strongest second differences (blur lowers it).
    """

    energies: Float[np.ndarray, "n 5"]
    quiet: Float[np.ndarray, " n"]
    edge: Float[np.ndarray, " n"]

    @property
    def rows(self) -> Float[np.ndarray, "n 7"]:
        return np.column_stack([self.energies, self.quiet, self.edge])


def _one(picture: np.ndarray) -> tuple[list[float], float, float]:
    from scipy import ndimage

    contrast = max(float(picture.std()), _FLOOR)
    smooth, energies = picture, []
    for band in range(_BANDS):
        smoother = ndimage.gaussian_filter(picture, 0.7 * 2**band, mode="nearest")
        energies.append(float(np.log(np.sqrt(((smooth - smoother) ** 2).mean()) / contrast + _FLOOR)))
        smooth = smoother
    mean = ndimage.uniform_filter(picture, 3, mode="nearest")
    variance = np.clip(ndimage.uniform_filter(picture**2, 3, mode="nearest") - mean**2, 0, None)
    quiet = float(np.log(np.quantile(np.sqrt(variance), 0.2) + 2 * _FLOOR))
    edge = float(np.log(np.quantile(np.abs(ndimage.laplace(picture, mode="nearest")), 0.98) / contrast + _FLOOR))
    return energies, quiet, edge


def texture(images: Float[np.ndarray, "n rows cols"]) -> Texture:
    """Texture of unit pictures; a last axis of 1 is dropped."""
    pictures = np.asarray(images, np.float64)
    if pictures.ndim == 4:
        pictures = pictures[..., 0]
    found = [_one(picture) for picture in pictures]
    return Texture(np.array([f[0] for f in found]), np.array([f[1] for f in found]), np.array([f[2] for f in found]))
