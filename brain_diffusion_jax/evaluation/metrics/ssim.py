"""SSIM of all pairs of a set, exactly: a separable filter over products of images, many pairs at once.

SSIM (Wang et al. 2004) at one window needs the Gaussian-weighted means, variances and the covariance of
two patches. Means and variances belong to one image and are filtered once, not once a pair; the
covariance of a pair costs 11 + 11 multiplications a window (`ssim_kernel`). A constant is taken off all
images first, so that float32 moments cancel little. Windows that are exactly 0 in every image (the
background of a skull-stripped head) score 1 for every pair and are counted, not computed.

Same numbers as pytorch-msssim's `ssim`: 11x11 Gaussian of sigma 1.5, windows wholly inside the
image, K1 0.01, K2 0.03, biased moments, data range 1, the mean over channels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import jax
import numpy as np
from jaxtyping import Float, Shaped

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import channels_last, check_images
from brain_diffusion_jax.evaluation.metrics.ms_ssim import ssim_factors
from brain_diffusion_jax.evaluation.metrics.paired_images import of_pairs
from brain_diffusion_jax.evaluation.metrics.ssim_window import MS_WEIGHTS, WINDOW

Progress = Callable[[int, int], None]  # blocks of pairs done, blocks
Matrices = tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"] | None]


def busy_strips(images: np.ndarray, width: int) -> list[tuple[slice, slice]]:
    """(window rows, window columns), at most `width` columns each, around all windows where any image is not 0."""
    _require_windows(images.shape[1:])
    busy = np.any(images != 0, axis=0)
    windows = np.any(np.lib.stride_tricks.sliding_window_view(busy, (WINDOW, WINDOW)), axis=(2, 3))
    strips = []
    columns = np.flatnonzero(windows.any(0))
    while len(columns):
        # Up to the last busy column in reach: a strip may be narrower.
        reached = columns[columns < columns[0] + width]
        strip = slice(int(reached[0]), int(reached[-1]) + 1)
        inside = np.flatnonzero(windows[:, strip].any(1))
        strips.append((slice(int(inside[0]), int(inside[-1]) + 1), strip))
        columns = columns[len(reached) :]
    return strips


def pairwise(
    images: Shaped[np.ndarray, "n ..."],
    *,
    contrast: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Matrices:
    """Mean SSIM of every pair [n, n] (diagonal 1) and, if requested, the mean contrast-structure factor.

    images: slices, as `check_images` takes them; of volumes `pairs` scores some pairs. threads: default, the cores
    this process may use. Memory: n^2 floats a matrix, float32 images and a strip of them.
    """
    channels = np.moveaxis(_slices(images), -1, 0)
    ssim, factors = zip(*(_of_channel(channel, contrast, threads, progress) for channel in channels), strict=True)
    return np.mean(ssim, 0), np.mean(factors, 0) if contrast else None


def _of_channel(
    images: Float[np.ndarray, "n ..."],
    contrast: bool,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Matrices:
    from brain_diffusion_jax.evaluation.metrics import ssim_kernel as kernel

    n = len(images)
    strips = busy_strips(images, kernel.WIDTH)
    blocks = [slice(start, min(start + kernel.LANES, n)) for start in range(0, n, kernel.LANES)]
    matrices = [np.zeros((n, n), np.float32) for _ in range(1 + contrast)]
    shift = float(images.mean())
    done = 0
    with ThreadPoolExecutor(threads or _cores()) as pool:
        coming = [pool.submit(kernel.prepare, images, rows, columns, shift) for rows, columns in strips[:1]]
        for number in range(len(strips)):
            strip = coming.pop().result()
            if number + 1 < len(strips):
                coming.append(pool.submit(kernel.prepare, images, *strips[number + 1], shift))
            # Images 0 to the end of the block meet those of the block; the other half is symmetry.
            jobs = [pool.submit(kernel.add_block, strip, block, matrices) for block in reversed(blocks)]
            for job in as_completed(jobs):
                job.result()
                done += 1
                if progress is not None:
                    progress(done, len(strips) * len(blocks))
    windows = (images.shape[1] - WINDOW + 1) * (images.shape[2] - WINDOW + 1)
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


def _slices(images: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n rows cols c"]:
    checked = check_images(images)
    if checked.ndim != 4:
        raise InputError("SSIM of all pairs", "images", checked.shape, "slices [n, rows, cols, channels]")
    return checked


def _require_windows(spatial: tuple[int, ...]) -> None:
    if min(spatial) < WINDOW:
        raise InputError("SSIM", "image size", spatial, f"at least {WINDOW} along every axis")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mean_of_pairs(matrix: Float[np.ndarray, "n n"], rows: np.ndarray | None = None) -> float:
    """Mean over pairs of different images; `rows` with repeats (a resample) never pairs a image with itself."""
    n = len(matrix)
    if n < 2:
        raise InputError("SSIM of pairs", "images", n, "at least 2")
    weight = np.ones(n) if rows is None else np.bincount(rows, minlength=n).astype(float)
    own = np.diag(matrix).astype(np.float64)
    pairs = weight.sum() ** 2 - (weight**2).sum()
    return float((weight @ (matrix.astype(np.float64) @ weight) - (weight**2 * own).sum()) / pairs) if pairs else np.nan


def halved(images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
    """Means of 2x2 blocks; an odd side gets a leading row or column of zeros, counted, as pytorch-msssim does."""
    # Its pooling pads both sides by one and then drops the incomplete last block.
    padded = np.pad(images, ((0, 0), *((size % 2, 0) for size in images.shape[1:])))
    blocks = [part for size in padded.shape[1:] for part in (size // 2, 2)]
    return padded.reshape(len(images), *blocks).mean(tuple(range(2, len(blocks) + 1, 2)))


def num_scales(spatial: tuple[int, ...], most: int = len(MS_WEIGHTS)) -> int:
    """How many MS-SSIM scales fit: at each one the image must be larger than the window."""
    return max(1, min(most, int(np.floor(np.log2((min(spatial) - 1) / (WINDOW - 1)))) + 1))


def ms_pairwise(
    images: Shaped[np.ndarray, "n ..."],
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"], int]:
    """SSIM and MS-SSIM (Wang et al. 2003) of every pair, and the number of scales used.

    Five scales need images above 160 pixels; smaller ones use the scales that fit, with weights
    renormalised to sum 1, which is why the number of scales belongs to the name of the metric.
    """
    channels = np.moveaxis(_slices(images), -1, 0)
    scales = num_scales(channels.shape[2:])
    weights = np.array(MS_WEIGHTS[:scales]) / sum(MS_WEIGHTS[:scales])
    singles, products = [], []
    for channel in channels:
        product = np.ones((len(channel),) * 2, np.float32)
        for scale, weight in enumerate(weights):
            last = scale == scales - 1
            ssim, contrast = _of_channel(channel, contrast=not last)
            if scale == 0:
                singles.append(ssim)
            factor = np.maximum(ssim if contrast is None else contrast, 0)
            product *= np.power(factor, np.float32(weight), out=factor)
            channel = halved(channel)
        products.append(product)
    return np.mean(singles, 0), np.mean(products, 0), scales


def _factors(x: Float[jax.Array, "b *spatial c"], y: Float[jax.Array, "b *spatial c"]) -> tuple[jax.Array, jax.Array]:
    return ssim_factors(x, y, WINDOW)


def paired_ssim(first: Shaped[np.ndarray, "n ..."], second: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, " n"]:
    """SSIM of image i with image i, the mean over channels; for reconstructions of the same thing only."""
    return of_pairs(_factors, channels_last(first, "first set"), channels_last(second, "second set"))[0]
