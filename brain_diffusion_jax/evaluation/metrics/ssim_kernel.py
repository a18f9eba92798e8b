"""Sums of SSIM over windows for pairs of images: the inner loops, compiled for this processor by numba.

One image meets LANES others at once: pixels of those stand side by side, so that every operation of
the separable filter is one vector instruction. A strip of WIDTH window columns is done at a time: then
all that the inner loops touch stays in the processor's own caches. Loops run over flat arrays because
those are what the compiler turns into vector code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np

from brain_diffusion_jax.evaluation.metrics.ssim_window import C1, C2, WINDOW, gaussian_line

LANES, WIDTH = 64, 8
_ROW = WIDTH * LANES
_PIXEL_ROW = (WIDTH + WINDOW - 1) * LANES
_C1, _C2, _TWO = np.float32(C1), np.float32(C2), np.float32(2)
_CHUNK = 256  # images whose moments are taken at once
_G0, _G1, _G2, _G3, _G4, _G5 = (np.float32(g) for g in gaussian_line()[:6])
_T0, _T1, _T2, _T3, _T4, _T5 = (np.float32(2 * g) for g in gaussian_line()[:6])
_compiled = numba.njit(fastmath=True, nogil=True, error_model="numpy")
_inlined = numba.njit(fastmath=True, nogil=True, error_model="numpy", inline="always")


@_inlined
def _filter_row(x, y, z, h, i, row, width):
    """Row `row` of x[i] * y, filtered along the row, into h; two columns at once, which share ten of their eleven."""
    for c in range(width + WINDOW - 1):
        value = x[i, row, c]
        for lane in range(LANES):
            z[c * LANES + lane] = value * y[row, c * LANES + lane]
    for half in range((width + 1) // 2):
        for lane in range(LANES):
            k = half * (2 * LANES) + lane
            z0, z1, z2, z3 = z[k], z[k + LANES], z[k + 2 * LANES], z[k + 3 * LANES]
            z4, z5, z6, z7 = z[k + 4 * LANES], z[k + 5 * LANES], z[k + 6 * LANES], z[k + 7 * LANES]
            z8, z9, z10, z11 = z[k + 8 * LANES], z[k + 9 * LANES], z[k + 10 * LANES], z[k + 11 * LANES]
            n = row * _ROW + k
            h[n] = _G5 * z5 + _G4 * (z4 + z6) + _G3 * (z3 + z7) + _G2 * (z2 + z8) + _G1 * (z1 + z9) + _G0 * (z0 + z10)
            h[n + LANES] = (
                _G5 * z6 + _G4 * (z5 + z7) + _G3 * (z4 + z8) + _G2 * (z3 + z9) + _G1 * (z2 + z10) + _G0 * (z1 + z11)
            )


@_inlined
def _filter_down(h, e, f, top, count):
    """Twice the filtered products of window rows top, into e, and top + 1, into f."""
    for k in range(count):
        n = top * _ROW + k
        h1, h2, h3, h4, h5 = h[n + _ROW], h[n + 2 * _ROW], h[n + 3 * _ROW], h[n + 4 * _ROW], h[n + 5 * _ROW]
        h6, h7, h8, h9, h10 = h[n + 6 * _ROW], h[n + 7 * _ROW], h[n + 8 * _ROW], h[n + 9 * _ROW], h[n + 10 * _ROW]
        h0, h11 = h[n], h[n + 11 * _ROW]
        e[k] = _T5 * h5 + _T4 * (h4 + h6) + _T3 * (h3 + h7) + _T2 * (h2 + h8) + _T1 * (h1 + h9) + _T0 * (h0 + h10)
        f[k] = _T5 * h6 + _T4 * (h5 + h7) + _T3 * (h4 + h8) + _T2 * (h3 + h9) + _T1 * (h2 + h10) + _T0 * (h1 + h11)


@_inlined
def _score(e, x_mean, x_spread, y_mean, y_spread, sums, i, top, width, shift):
    for c in range(width):
        mean, spread = x_mean[i, top, c], x_spread[i, top, c]
        twice, slope, square = _TWO * mean, _TWO * (shift - mean), mean * mean + _C1
        offset = _C2 - slope * shift
        for lane in range(LANES):
            k = c * LANES + lane
            other = y_mean[top, k]
            over = (twice * other + _C1) * (slope * other + (e[k] + offset))
            sums[k] += over / ((other * other + square) * (spread + y_spread[top, k]))


@_inlined
def _score_both(e, x_mean, x_spread, y_mean, y_spread, sums, contrasts, i, top, width, shift):
    for c in range(width):
        mean, spread = x_mean[i, top, c], x_spread[i, top, c]
        twice, slope, square = _TWO * mean, _TWO * (shift - mean), mean * mean + _C1
        offset = _C2 - slope * shift
        for lane in range(LANES):
            k = c * LANES + lane
            other = y_mean[top, k]
            contrast = (slope * other + (e[k] + offset)) / (spread + y_spread[top, k])
            contrasts[k] += contrast
            sums[k] += contrast * (twice * other + _C1) / (other * other + square)


@_compiled
def _add_windows(x, x_mean, x_spread, y, y_mean, y_spread, shift, width, work, totals, contrast_totals):
    """Add window sums of images x [m, rows, WIDTH + 10] with up to LANES others to totals [m, others].

    Moments x_mean, x_spread [m, window rows, WIDTH]; y, y_mean, y_spread: of the others [rows, columns * LANES].
    width: window columns. contrast_totals: [0, others] when it is not wanted.
    """
    z, h, e, f, sums, contrasts = work
    rows = x_mean.shape[1]
    both = contrast_totals.shape[0] > 0
    for i in range(x.shape[0]):
        for k in range(_ROW):
            sums[k] = 0
            contrasts[k] = 0
        for row in range(WINDOW - 1):
            _filter_row(x, y, z, h, i, row, width)
        for half in range((rows + 1) // 2):
            top = 2 * half
            _filter_row(x, y, z, h, i, top + WINDOW - 1, width)
            if top + 1 < rows:
                _filter_row(x, y, z, h, i, top + WINDOW, width)
            _filter_down(h, e, f, top, width * LANES)
            if both:
                _score_both(e, x_mean, x_spread, y_mean, y_spread, sums, contrasts, i, top, width, shift)
                if top + 1 < rows:
                    _score_both(f, x_mean, x_spread, y_mean, y_spread, sums, contrasts, i, top + 1, width, shift)
            else:
                _score(e, x_mean, x_spread, y_mean, y_spread, sums, i, top, width, shift)
                if top + 1 < rows:
                    _score(f, x_mean, x_spread, y_mean, y_spread, sums, i, top + 1, width, shift)
        for c in range(width):
            for lane in range(totals.shape[1]):
                totals[i, lane] += sums[c * LANES + lane]
                if both:
                    contrast_totals[i, lane] += contrasts[c * LANES + lane]


class Strip(NamedTuple):
    """pixels minus shift [n, rows + 10, WIDTH + 10]; means, spreads (variance + C2 / 2) of windows [n, rows, WIDTH]."""

    pixels: np.ndarray
    means: np.ndarray
    spreads: np.ndarray
    shift: np.float32
    width: int


def prepare(images: np.ndarray, rows: slice, columns: slice, shift: float) -> Strip:
    """The strip of these window rows and columns of images [n, rows, cols]; narrower ones are padded with zeros."""
    n, height, width = len(images), rows.stop - rows.start, columns.stop - columns.start
    pixels = np.zeros((n, height + WINDOW - 1, WIDTH + WINDOW - 1), np.float32)
    cut = images[:, rows.start : rows.stop + WINDOW - 1, columns.start : columns.stop + WINDOW - 1]
    np.subtract(cut, np.float32(shift), out=pixels[:, :, : width + WINDOW - 1])
    means, spreads = np.zeros((2, n, height, WIDTH), np.float32)
    line = gaussian_line()
    down, across = (np.stack([np.pad(line, (k, size - 1 - k)) for k in range(size)]) for size in (height, WIDTH))
    for start in range(0, n, _CHUNK):
        part = slice(start, start + _CHUNK)
        exact = pixels[part].astype(np.float64)
        mean = down @ (exact @ across.T)
        means[part] = mean + shift
        spreads[part] = down @ ((exact * exact) @ across.T) - mean**2 + C2 / 2
    return Strip(pixels, means, spreads, np.float32(shift), width)


def add_block(strip: Strip, block: slice, matrices: Sequence[np.ndarray]) -> None:
    """Add the strip's window sums of SSIM (and contrast) of images 0..block.stop-1 with the block's to [n, n]."""
    x, x_mean, x_spread = (array[: block.stop] for array in (strip.pixels, strip.means, strip.spreads))
    y, y_mean, y_spread = (_lanes_last(array[block]) for array in (strip.pixels, strip.means, strip.spreads))
    work = tuple(_aligned(size) for size in (_PIXEL_ROW, (len(strip.pixels[0]) + 1) * _ROW, *[_ROW] * 4))
    totals = [matrix[: block.stop, block] for matrix in matrices]
    contrasts = totals[1] if len(totals) > 1 else totals[0][:0]
    _add_windows(x, x_mean, x_spread, y, y_mean, y_spread, strip.shift, strip.width, work, totals[0], contrasts)


def _aligned(count: int) -> np.ndarray:
    """[count] float32 zeros that begin at a cache line: vectors across two lines load at half speed."""
    buffer = np.zeros(count + 16, np.float32)
    start = (-buffer.ctypes.data % 64) // 4
    return buffer[start : start + count]


def _lanes_last(block: np.ndarray) -> np.ndarray:
    """[k, r, c] of at most LANES images -> [r, c * LANES]; the missing ones are ones, to divide by."""
    count, rows, columns = block.shape
    flat = _aligned(rows * columns * LANES)
    flat[:] = 1
    flat.reshape(rows, columns, LANES)[:, :, :count] = block.transpose(1, 2, 0)
    return flat.reshape(rows, columns * LANES)
