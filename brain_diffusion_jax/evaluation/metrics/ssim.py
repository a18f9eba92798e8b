"""SSIM of all pairs of a set, exactly: a separable filter over products of pictures, many pairs at once.

SSIM (Wang et al. 2004) at one window needs the Gaussian-weighted means, variances and the covariance of
two patches. Means and variances belong to one picture and are filtered once, not once a pair; the
covariance of a pair costs 11 + 11 multiplications a window (`ssim_kernel`). A constant is taken off all
pictures first, so that float32 moments cancel little. Windows that are exactly 0 in every picture (the
background of a skull-stripped head) score 1 for every pair and are counted, not computed.

Same numbers as pytorch-msssim's `ssim`: 11x11 Gaussian of sigma 1.5, windows wholly inside the
picture, K1 0.01, K2 0.03, biased moments, data range 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.ssim_window import C1, C2, WINDOW, gaussian_line
from brain_diffusion_jax.pixels import to_unit

MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def check_pictures(images: np.ndarray, where: object = "pictures") -> np.ndarray:
    """float32 [n, rows, cols] in [0, 1] from [n, rows, cols(, 1)] floats or uint8."""
    array = np.asarray(images)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.shape[0] == 0:
        raise InputError(where, "shape", array.shape, "[n, rows, cols, 1] with at least one picture")
    array = to_unit(array)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any((1, 2)).sum())
        raise InputError(where, "values", f"NaN or Inf in {bad} of {len(array)} pictures", "finite values")
    low, high = float(array.min()), float(array.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(where, "range", f"{low:g} to {high:g}", "uint8, or floats in [0, 1]")
    return array


def busy_strips(images: np.ndarray, width: int) -> list[tuple[slice, slice]]:
    """(window rows, window columns), at most `width` columns each, around all windows where any picture is not 0."""
    rows, cols = images.shape[1] - WINDOW + 1, images.shape[2] - WINDOW + 1
    if rows < 1 or cols < 1:
        raise InputError("SSIM", "picture size", images.shape[1:], f"at least {WINDOW}x{WINDOW}")
    busy = np.any(images != 0, axis=0)
    windows = np.any(np.lib.stride_tricks.sliding_window_view(busy, (WINDOW, WINDOW)), axis=(2, 3))
    found = []
    columns = np.flatnonzero(windows.any(0))
    while len(columns):
        # Up to the last busy column in reach: a strip may be narrower.
        reached = columns[columns < columns[0] + width]
        strip = slice(int(reached[0]), int(reached[-1]) + 1)
        inside = np.flatnonzero(windows[:, strip].any(1))
        found.append((slice(int(inside[0]), int(inside[-1]) + 1), strip))
        columns = columns[len(reached) :]
    return found


def pairwise(
    images: np.ndarray,
    *,
    contrast: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"] | None]:
    """Mean SSIM of every pair [n, n] (diagonal 1) and, if asked, the mean contrast-structure factor.

    images: as `check_pictures` takes them. threads: default, the cores this process may use. progress:
    (blocks of pairs done, blocks). Memory: n^2 floats a matrix, float32 pictures and a strip of them.
    """
    from brain_diffusion_jax.evaluation.metrics import ssim_kernel as kernel

    pictures = check_pictures(images)
    n = len(pictures)
    strips = busy_strips(pictures, kernel.WIDTH)
    blocks = [slice(start, min(start + kernel.LANES, n)) for start in range(0, n, kernel.LANES)]
    matrices = [np.zeros((n, n), np.float32) for _ in range(1 + contrast)]
    shift = float(pictures.mean())
    done = 0
    with ThreadPoolExecutor(threads or _cores()) as pool:
        coming = [pool.submit(kernel.prepare, pictures, rows, columns, shift) for rows, columns in strips[:1]]
        for number in range(len(strips)):
            strip = coming.pop().result()
            if number + 1 < len(strips):
                coming.append(pool.submit(kernel.prepare, pictures, *strips[number + 1], shift))
            # Pictures 0 to the end of the block meet those of the block; the other half is symmetry.
            jobs = [pool.submit(kernel.add_block, strip, block, matrices) for block in reversed(blocks)]
            for job in as_completed(jobs):
                job.result()
                done += 1
                if progress is not None:
                    progress(done, len(strips) * len(blocks))
    windows = (pictures.shape[1] - WINDOW + 1) * (pictures.shape[2] - WINDOW + 1)
    skipped = windows - sum((r.stop - r.start) * (c.stop - c.start) for r, c in strips)
    for matrix in matrices:
        for block in blocks:
            means = (matrix[: block.stop, block] + skipped) / windows
            matrix[: block.stop, block] = means
            matrix[block, : block.stop] = means.T
            own = np.triu(matrix[block, block])
            matrix[block, block] = own + np.triu(own, 1).T  # both halves were computed, and rounded differently
        np.fill_diagonal(matrix, 1)
    return matrices[0], matrices[1] if contrast else None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    product = np.ones((len(pictures), len(pictures)), np.float32)
    single = None
    for scale, weight in enumerate(weights):
        last = scale == scales - 1
        ssim, contrast = pairwise(pictures, contrast=not last, **options)
        single = ssim if single is None else single
        factor = np.maximum(ssim if contrast is None else contrast, 0)
        product *= np.power(factor, np.float32(weight), out=factor)
        pictures = halved(pictures)
    assert single is not None
    return single, product, scales


def paired_ssim(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " n"]:
    """SSIM of picture i with picture i; for reconstructions of the same thing only."""
    a, b = check_pictures(first, "first set"), check_pictures(second, "second set")
    if a.shape != b.shape:
        raise InputError("second set", "shape", b.shape, a.shape)
    line = jnp.asarray(gaussian_line(), jnp.float32)

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
