"""Time SSIM over all pairs against the pairwise torch loop, and the whole set of the reference size.

    python scripts/bench_ssim.py                       a part, extrapolated (a minute)
    python scripts/bench_ssim.py --pictures 5160       all 13.3 million pairs of 96x128

The loop it is compared with is pytorch-msssim's: one pair a call, five separable Gaussian filters.
Prints JSON: pairs per second of both, their ratio, the largest difference, minutes for 5,160 pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import numpy as np


def pictures(count: int, rows: int, cols: int) -> np.ndarray:
    """Smooth random pictures without an empty background: the slowest case, no window can be skipped."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(0)
    base = gaussian_filter(generator.normal(size=(16, rows, cols)), (0, 6, 6))
    weights = generator.normal(size=(count, 16))
    mixed = np.einsum("nk,krc->nrc", weights, base) + 0.01 * generator.normal(size=(count, rows, cols))
    low, high = mixed.min((1, 2), keepdims=True), mixed.max((1, 2), keepdims=True)
    return (0.02 + 0.98 * (mixed - low) / (high - low)).astype(np.float32)


def torch_score(x: Any, y: Any) -> float:
    """SSIM of two pictures [1, 1, rows, cols], filtered as pytorch-msssim does."""
    import torch

    line = torch.exp(-((torch.arange(11, dtype=x.dtype) - 5) ** 2) / (2 * 1.5**2))
    line = line / line.sum()

    def blur(z: torch.Tensor) -> torch.Tensor:
        z = torch.nn.functional.conv2d(z, line.view(1, 1, 11, 1))
        return torch.nn.functional.conv2d(z, line.view(1, 1, 1, 11))

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    return float((luminance * (2 * cov + 0.03**2) / (var_x + var_y + 0.03**2)).mean())


def torch_loop(images: np.ndarray, seconds: float) -> tuple[int, Clock]:
    """How many pairs the plain loop did, and the time it took."""
    import torch

    torch.set_num_threads(1)  # filters of one picture gain nothing from more, and waiting threads cost
    tensors = torch.as_tensor(images)[:, None, None]
    clock, done = Clock(), 0
    with torch.no_grad():
        for i in range(len(images)):
            for j in range(i + 1, len(images)):
                torch_score(tensors[i], tensors[j])
                done += 1
                if clock.read().wall > seconds:
                    return done, clock
    return done, clock


def largest_difference(images: np.ndarray, matrix: np.ndarray, count: int = 60) -> float:
    """From the same formula in float64, over `count` random pairs."""
    import torch

    generator = np.random.default_rng(1)
    tensors = torch.as_tensor(images, dtype=torch.float64)[:, None, None]
    pairs = generator.integers(len(images), size=(count, 2))
    return max(abs(float(matrix[i, j]) - torch_score(tensors[i], tensors[j])) for i, j in pairs)


class Clock:
    """Wall and processor seconds since it was made; on a shared machine only the latter repeat."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()
        self.wall = self.cpu = 0.0

    def read(self) -> Clock:
        self.wall, self.cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        return self


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("ROWS", "COLS"))
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--loop-seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    from brain_diffusion_jax.evaluation import ssim

    images = pictures(arguments.pictures, *arguments.size)
    tile = min(arguments.tile, len(images))
    ssim.pairwise(images[: 2 * tile, :16, :16], tile=tile)  # threads up
    clock = Clock()
    matrix, _ = ssim.pairwise(images, tile=tile)
    clock.read()
    tiles, full_tiles = -(-len(images) // tile), -(-5160 // tile)
    growth = full_tiles * (full_tiles + 1) / (tiles * (tiles + 1))  # tiles on and above the diagonal
    done, loop = torch_loop(images, arguments.loop_seconds)
    loop.read()
    pairs, full_pairs = len(images) * (len(images) - 1) / 2, 5160 * 5159 / 2
    cores = len(os.sched_getaffinity(0))
    print(
        json.dumps(
            {
                "pictures": len(images),
                "size": list(arguments.size),
                "pairs": int(pairs),
                "wall_seconds": round(clock.wall, 2),
                "processor_seconds": round(clock.cpu, 2),
                "pairs_per_s": round(pairs / clock.wall),
                "pairs_per_processor_s_at_5160": round(full_pairs / (clock.cpu * growth)),
                "torch_loop_pairs_per_s": round(done / loop.wall, 1),
                "torch_loop_pairs_per_processor_s": round(done / loop.cpu, 1),
                "times_faster_at_5160_by_wall": round(full_pairs / (clock.wall * growth) / (done / loop.wall), 1),
                "times_faster_at_5160_by_processor": round(full_pairs / (clock.cpu * growth) / (done / loop.cpu), 1),
                "largest_difference_from_float64": largest_difference(images, matrix),
                "minutes_for_5160_pictures_by_wall": round(clock.wall * growth / 60, 2),
                "minutes_for_5160_pictures_on_free_cores": round(clock.cpu * growth / cores / 60, 2),
                "extrapolated": len(images) != 5160,
                "load_average": round(os.getloadavg()[0], 1),
                "cores": cores,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
