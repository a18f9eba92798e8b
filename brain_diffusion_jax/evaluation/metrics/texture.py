"""What blur, noise and compression change in an image: numbers on its spectrum, edges and quiet places."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import eight_bit

_LEVEL = 1 / 256  # differences below one grey level of an 8-bit image say nothing
_RINGS = 16
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.995)
_LOCAL_QUANTILES = (0.02, 0.1, 0.3, 0.5, 0.8, 0.95)
_DECILES = 10
_CORNERS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6.0  # blind to edges (Immerkaer 1996)
_LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 4.0
_BLOCK = 256


def _log(x: np.ndarray) -> np.ndarray:
    return np.log(x + _LEVEL)


def _spectrum(x: Float[np.ndarray, "n r c"]) -> list[np.ndarray]:
    """Log root energies of the cosine transform in rings of frequency, and in its last eighth along either axis."""
    from scipy import fft

    rows, cols = x.shape[1:]
    energy = fft.dctn(x - x.mean((1, 2), keepdims=True), axes=(1, 2), norm="ortho") ** 2
    down, right = np.mgrid[:rows, :cols]
    radius = np.hypot(down / rows, right / cols)
    ring = np.minimum((radius * _RINGS).astype(int), _RINGS - 1)
    parts = [energy[:, ring == k].mean(1) for k in range(_RINGS)]
    parts += [energy[:, :, -(cols // 8) :].mean((1, 2)), energy[:, -(rows // 8) :].mean((1, 2))]
    return [_log(np.sqrt(e)) for e in parts]


def _block(x: Float[np.ndarray, "n r c"]) -> Float[np.ndarray, "n d"]:
    from scipy import ndimage

    count = len(x)
    parts = [_log(x.std((1, 2))), *_spectrum(x)]
    slope = np.hypot(ndimage.sobel(x, 1, mode="nearest"), ndimage.sobel(x, 2, mode="nearest")) / 8
    corners, laplace = (ndimage.convolve(x, kernel[None], mode="nearest") for kernel in (_CORNERS, _LAPLACE))
    for z in (corners, laplace, slope):
        local = np.sqrt(np.maximum(ndimage.uniform_filter(z**2, (0, 5, 5), mode="nearest"), 0))
        parts += list(_log(np.quantile(np.abs(z).reshape(count, -1), _QUANTILES, axis=1)))
        parts += list(_log(np.quantile(local.reshape(count, -1), _LOCAL_QUANTILES, axis=1)))
    # Fine structure where the image is flat up to where it is steepest: noise fills the one, blur the other.
    order = slope.reshape(count, -1).argsort(1)
    for z in (corners, laplace):
        sorted_by_slope = np.take_along_axis(np.abs(z).reshape(count, -1), order, 1)
        parts += [_log(part.mean(1)) for part in np.array_split(sorted_by_slope, _DECILES, axis=1)]
    return np.stack(parts, 1)


def texture(images: Float[np.ndarray, "n rows cols c"]) -> Float[np.ndarray, "n d"]:
    """Logarithms of contrast, spectrum, edges and fine structure of unit slices, channel after channel.

    Images are rounded to 8 bits first, so that only what such an image can show counts: otherwise the
    missing rounding would tell a computed image from a stored one.
    """
    if images.ndim != 4:
        raise InputError("texture", "image shape", images.shape[1:], "(rows, cols, channels)")
    stored = eight_bit(np.asarray(images, np.float64))
    blocks = (stored[i : i + _BLOCK] for i in range(0, len(stored), _BLOCK))
    return np.concatenate([np.hstack([_block(channel) for channel in np.moveaxis(x, -1, 0)]) for x in blocks])
