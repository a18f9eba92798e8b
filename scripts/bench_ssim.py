"""Time SSIM over all pairs against the pairwise torch loop, and the whole set of the reference size.

    python scripts/bench_ssim.py                       all 13.3 million pairs of 96x128 (a minute on two cores)
    python scripts/bench_ssim.py --pictures 1024       a part

The loops it is compared with, one pair a call: the package pytorch-msssim where it is installed, and its five
separable Gaussian filters with nothing around them; each with one torch thread and with as many as there are
cores, the faster of which counts. Run it on an idle machine.
Prints JSON: seconds, pairs per second of both, their ratio, the largest difference from float64.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def smooth_images(count: int, rows: int, cols: int) -> np.ndarray:
    """Smooth random images without an empty background: the slowest case, no window can be skipped."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(0)
    base = gaussian_filter(generator.normal(size=(16, rows, cols)), (0, 6, 6))
    weights = generator.normal(size=(count, 16))
    mixed = np.einsum("nk,krc->nrc", weights, base) + 0.01 * generator.normal(size=(count, rows, cols))
    low, high = mixed.min((1, 2), keepdims=True), mixed.max((1, 2), keepdims=True)
    return (0.02 + 0.98 * (mixed - low) / (high - low)).astype(np.float32)


def torch_score(x: Any, y: Any) -> float:
    """SSIM of two images [1, 1, rows, cols], filtered as pytorch-msssim does."""
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


def published_score(x: Any, y: Any) -> float:
    """The same by the package itself."""
    from pytorch_msssim import ssim

    return float(ssim(x, y, data_range=1.0))


def torch_loop(images: np.ndarray, seconds: float, threads: int, score: Callable[[Any, Any], float]) -> float:
    """Pairs per second of a loop over pairs."""
    import torch

    torch.set_num_threads(threads)
    tensors = torch.as_tensor(images)[:, None, None]
    pairs = ((i, j) for i in range(len(images)) for j in range(i + 1, len(images)))
    with torch.no_grad():
        for i, j in itertools.islice(pairs, 50):  # warm
            score(tensors[i], tensors[j])
        start = time.perf_counter()
        done = 0
        for i, j in pairs:
            score(tensors[i], tensors[j])
            done += 1
            if time.perf_counter() - start > seconds:
                break
    return done / (time.perf_counter() - start)


def largest_difference(images: np.ndarray, matrix: np.ndarray, count: int = 60) -> float:
    """From the same formula in float64, over `count` random pairs."""
    import torch

    generator = np.random.default_rng(1)
    tensors = torch.as_tensor(images, dtype=torch.float64)[:, None, None]
    pairs = generator.integers(len(images), size=(count, 2))
    return max(abs(float(matrix[i, j]) - torch_score(tensors[i], tensors[j])) for i, j in pairs)


def main() -> None:
    """Run the comparison and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5160)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("ROWS", "COLS"))
    parser.add_argument("--loop-seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    from brain_diffusion_jax.evaluation.metrics import ssim

    images = smooth_images(arguments.pictures, *arguments.size)
    cores = len(os.sched_getaffinity(0))
    ssim.pairwise(images[:2, :16, :16])  # compiles
    start = time.perf_counter(), time.process_time()
    matrix, _ = ssim.pairwise(images)
    wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
    pairs = len(images) * (len(images) - 1) // 2
    scores = {"plain": torch_score}
    if importlib.util.find_spec("pytorch_msssim"):
        scores["pytorch-msssim"] = published_score
    loops = {
        f"{name}, {threads} threads": torch_loop(images, arguments.loop_seconds, threads, score)
        for name, score in scores.items()
        for threads in sorted({1, cores})
    }
    found = {
        "pictures": len(images),
        "size": list(arguments.size),
        "cores": cores,
        "pairs": pairs,
        "wall_seconds": round(wall, 1),
        "processor_seconds": round(processor, 1),
        "pairs_per_s": round(pairs / wall),
        "torch_loop_pairs_per_s": {name: round(rate) for name, rate in loops.items()},
        "times_faster_than_the_fastest": {
            name: round(pairs / wall / max(rate for loop, rate in loops.items() if loop.startswith(name)), 1)
            for name in scores
        },
        "largest_difference_from_float64": largest_difference(images, matrix),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
