"""SSIM of all pairs of a set, exactly, through one matrix product per window.

SSIM (Wang et al. 2004) at one window needs the Gaussian-weighted means, variances and the
covariance of two patches. For all pairs of N pictures the covariances at one window are the Gram
matrix of N vectors of 121 numbers, sqrt(g) * (patch - weighted mean): a matrix product, where
the usual loop filters N^2/2 pairs of pictures. Windows that are exactly 0 in every picture (the
background of a skull-stripped head) score 1 for every pair and are counted, not computed.

Same numbers as pytorch-msssim's `ssim`: 11x11 Gaussian of sigma 1.5, windows wholly inside the
picture, K1 0.01, K2 0.03, biased moments, data range 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def gaussian_window() -> np.ndarray:
    """[11, 11] weights that sum to 1."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    line = np.exp(-(offsets**2) / (2 * SIGMA**2))
    line /= line.sum()
    return np.outer(line, line)


def check_pictures(images: np.ndarray, where: object = "pictures") -> np.ndarray:
    """float32 [n, rows, cols] in [0, 1] from [n, rows, cols(, 1)] floats or uint8."""
    array = np.asarray(images)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.shape[0] == 0:
        raise InputError(where, "shape", array.shape, "[n, rows, cols, 1] with at least one picture")
    array = array.astype(np.float32) / np.float32(255) if array.dtype == np.uint8 else array.astype(np.float32)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any((1, 2)).sum())
        raise InputError(where, "values", f"NaN or Inf in {bad} of {len(array)} pictures", "finite values")
    low, high = float(array.min()), float(array.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(where, "range", f"{low:g} to {high:g}", "uint8, or floats in [0, 1]")
    return array


def active_windows(images: np.ndarray) -> np.ndarray:
    """[k, 2] upper-left corners of the windows in which any picture is not 0."""
    rows, cols = images.shape[1] - WINDOW + 1, images.shape[2] - WINDOW + 1
    if rows < 1 or cols < 1:
        raise InputError("SSIM", "picture size", images.shape[1:], f"at least {WINDOW}x{WINDOW}")
    busy = (images != 0).any(0).astype(np.int64)
    total = np.pad(busy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    counts = total[WINDOW:, WINDOW:] - total[:-WINDOW, WINDOW:] - total[WINDOW:, :-WINDOW] + total[:-WINDOW, :-WINDOW]
    return np.argwhere(counts > 0).astype(np.int32)


def _moments(pictures: jax.Array, corner: jax.Array, root: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weighted, centred patches [121, t], means [t] and variances [t] of pictures [rows, cols, t]."""
    patch = jax.lax.dynamic_slice(pictures, (corner[0], corner[1], 0), (WINDOW, WINDOW, pictures.shape[2])).reshape(
        WINDOW * WINDOW, -1
    )
    mean = (root**2) @ patch
    centred = root[:, None] * (patch - mean)
    return centred, mean, jnp.sum(centred**2, axis=0)


@functools.partial(jax.jit, static_argnames="contrast")
def _tile_sums(left: jax.Array, right: jax.Array, corners: jax.Array, *, contrast: bool) -> tuple[jax.Array, jax.Array]:
    """Sums over windows of SSIM, and of its contrast-structure factor, for pictures [rows, cols, t]."""
    root = jnp.asarray(np.sqrt(gaussian_window()).ravel(), jnp.float32)

    def window(index: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        centred_a, mean_a, variance_a = _moments(left, corners[index], root)
        centred_b, mean_b, variance_b = _moments(right, corners[index], root)
        covariance = centred_a.T @ centred_b
        luminance_top = 2 * mean_a[:, None] * mean_b + C1
        luminance_bottom = (mean_a**2 + C1)[:, None] + mean_b**2
        top = 2 * covariance + C2
        bottom = (variance_a + C2)[:, None] + variance_b
        ssim = sums[0] + luminance_top * top / (luminance_bottom * bottom)
        return ssim, (sums[1] + top / bottom if contrast else sums[1])

    zeros = jnp.zeros((left.shape[2], right.shape[2]), jnp.float32)
    start = (zeros, zeros if contrast else jnp.zeros((), jnp.float32))
    return jax.lax.fori_loop(0, len(corners), window, start)


def pairwise(
    images: np.ndarray,
    *,
    tile: int = 512,
    contrast: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"] | None]:
    """Mean SSIM of every pair [n, n] (diagonal 1) and, if asked, the mean contrast-structure factor.

    images: as `check_pictures` takes them. progress: (tiles done, tiles) after each tile.
    Memory: n^2 floats and two tiles of pictures.
    """
    pictures = check_pictures(images)
    corners = active_windows(pictures)
    n, rows, cols = pictures.shape
    windows = (rows - WINDOW + 1) * (cols - WINDOW + 1)
    tile = min(tile, n)
    starts = range(0, n, tile)

    def load(start: int) -> jax.Array:
        block = pictures[start : start + tile]
        padding = np.zeros((tile - len(block), rows, cols), np.float32)  # one compiled shape for all tiles
        return jnp.asarray(np.ascontiguousarray(np.concatenate([block, padding]).transpose(1, 2, 0)))

    results = [np.ones((n, n), np.float32)] + ([np.ones((n, n), np.float32)] if contrast else [])
    jobs = [(a, b) for a in starts for b in starts if a <= b]
    for done, (a, b) in enumerate(jobs, 1):
        sums = _tile_sums(load(a), load(b), jnp.asarray(corners), contrast=contrast) if len(corners) else ()
        for matrix, total in zip(results, sums, strict=False):
            block = (np.asarray(total)[: n - a, : n - b] + (windows - len(corners))) / windows
            matrix[a : a + tile, b : b + tile] = block
            matrix[b : b + tile, a : a + tile] = block.T
        if progress is not None:
            progress(done, len(jobs))
    return results[0], results[1] if contrast else None


def mean_of_pairs(matrix: Float[np.ndarray, "n n"], rows: np.ndarray | None = None) -> float:
    """Mean over pairs of different pictures; `rows` with repeats (a resample) never pairs a picture with itself."""
    n = len(matrix)
    if n < 2:
        raise InputError("SSIM of pairs", "pictures", n, "at least 2")
    weight = np.ones(n) if rows is None else np.bincount(rows, minlength=n).astype(float)
    own = np.diag(matrix).astype(np.float64)
    pairs = weight.sum() ** 2 - (weight**2).sum()
    return float((weight @ (matrix.astype(np.float64) @ weight) - (weight**2 * own).sum()) / pairs) if pairs else np.nan


def mean_pairwise_ssim(images: np.ndarray, **options) -> float:
    """Mean SSIM over all pairs within one set: a measure of diversity (1 = all pictures equal)."""
    return mean_of_pairs(pairwise(images, **options)[0])


def halved(images: np.ndarray) -> np.ndarray:
    """2x2 block means; an odd side gets a leading row or column of zeros, counted, as pytorch-msssim does."""
    n, rows, cols = images.shape
    # Its pooling pads both sides by one and then drops the incomplete last block.
    padded = np.pad(images, ((0, 0), (rows % 2, 0), (cols % 2, 0)))
    return padded.reshape(n, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2).mean((2, 4))


def num_scales(image_size: tuple[int, int], most: int = len(MS_WEIGHTS)) -> int:
    """How many MS-SSIM scales fit: at each one the picture must be larger than the window."""
    return max(1, min(most, int(np.floor(np.log2((min(image_size) - 1) / (WINDOW - 1)))) + 1))


def ms_pairwise(images: np.ndarray, **options) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"], int]:
    """SSIM and MS-SSIM (Wang et al. 2003) of every pair, and the number of scales used.

    Five scales need pictures above 160 pixels; smaller ones use the scales that fit, with weights
    renormalised to sum 1, which is why the number of scales belongs to the name of the metric.
    """
    pictures = check_pictures(images)
    scales = num_scales((pictures.shape[1], pictures.shape[2]))
    weights = np.array(MS_WEIGHTS[:scales]) / sum(MS_WEIGHTS[:scales])
    product = np.ones((len(pictures), len(pictures)))
    single = None
    for scale, weight in enumerate(weights):
        ssim, contrast = pairwise(pictures, contrast=True, **options)
        single = ssim if single is None else single
        factor = ssim if scale == scales - 1 else contrast
        assert factor is not None
        product *= np.maximum(factor, 0.0).astype(np.float64) ** weight
        pictures = halved(pictures)
    assert single is not None
    return single, product.astype(np.float32), scales


def paired_ssim(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " n"]:
    """SSIM of picture i with picture i; for reconstructions of the same thing only."""
    a, b = check_pictures(first, "first set"), check_pictures(second, "second set")
    if a.shape != b.shape:
        raise InputError("second set", "shape", b.shape, a.shape)
    line = jnp.asarray(np.sqrt(np.diag(gaussian_window())), jnp.float32)

    @jax.jit
    def score(x: jax.Array, y: jax.Array) -> jax.Array:
        def blur(z: jax.Array) -> jax.Array:
            rows, cols = z.shape[1] - WINDOW + 1, z.shape[2] - WINDOW + 1
            z = jnp.stack([line[k] * z[:, k : k + rows] for k in range(WINDOW)]).sum(0)
            return jnp.stack([line[k] * z[:, :, k : k + cols] for k in range(WINDOW)]).sum(0)

        mean_x, mean_y = blur(x), blur(y)
        variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
        return (luminance * (2 * covariance + C2) / (variance_x + variance_y + C2)).mean((1, 2))

    return np.concatenate([np.asarray(score(a[i : i + 64], b[i : i + 64])) for i in range(0, len(a), 64)])


def paired_psnr(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " n"]:
    """Peak signal-to-noise ratio in dB at data range 1; Inf for equal pictures."""
    a, b = check_pictures(first, "first set"), check_pictures(second, "second set")
    if a.shape != b.shape:
        raise InputError("second set", "shape", b.shape, a.shape)
    error = ((a.astype(np.float64) - b) ** 2).mean((1, 2))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)
