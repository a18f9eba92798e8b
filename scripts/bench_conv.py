"""Where `models.plane_convolution.kernel_gradient` pays: its GFLOP/s beside those of XLA's, on the CPU.

  python scripts/bench_conv.py
  python scripts/bench_conv.py --shape 4 48 64 128 64      (batch, rows, cols, channels in, channels out)

3 x 3 kernels, float32. Both take turns; figures are medians of --repeats.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

# Layers of the reference network at batch 1 and 2, of VGG16, and of narrower networks.
SHAPES = (
    (1, 96, 128, 256, 256),
    (1, 96, 128, 512, 256),
    (1, 48, 64, 256, 256),
    (1, 24, 32, 512, 512),
    (2, 96, 128, 256, 256),
    (8, 48, 64, 128, 128),
    (8, 12, 16, 512, 512),
    (8, 96, 128, 64, 64),
    (8, 48, 64, 64, 64),
    (8, 96, 128, 32, 32),
)


def compare(shape: tuple[int, ...], repeats: int) -> dict:
    """GFLOP/s of both gradients for one layer, their ratio, and the largest difference over the largest value."""
    import jax
    import jax.numpy as jnp

    from brain_diffusion_jax.models.layers import conv
    from brain_diffusion_jax.models.plane_convolution import kernel_gradient

    batch, rows, cols, wide_in, wide_out = shape
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((batch, rows, cols, wide_in)), jnp.float32)
    g = jnp.asarray(rng.standard_normal((batch, rows, cols, wide_out)), jnp.float32)
    plain = conv(wide_out, 2, "c")
    params = plain.init(jax.random.key(0), x[:1])

    def xla(x, g):
        return jax.vjp(lambda p: plain.apply(p, x), params)[1](g)[0]["params"]["kernel"]

    ours = jax.jit(lambda x, g: kernel_gradient(x, g, (3, 3), ((1, 1), (1, 1))))
    sides = {"xla": jax.jit(xla), "ours": ours}
    first, second = (np.asarray(side(x, g)) for side in sides.values())
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            begin = time.perf_counter()
            jax.block_until_ready(side(x, g))
            times[name].append(time.perf_counter() - begin)
    gflop = 2 * batch * rows * cols * 9 * wide_in * wide_out / 1e9
    medians = {name: float(np.median(t)) for name, t in times.items()}
    return {
        "shape": shape,
        **{f"{name}_gflops_per_s": round(gflop / seconds) for name, seconds in medians.items()},
        "ratio": round(medians["xla"] / medians["ours"], 2),
        "difference": float(np.abs(first - second).max() / np.abs(first).max()),
    }


def main() -> None:
    """Run the comparison and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=5, action="append", metavar=("B", "ROWS", "COLS", "IN", "OUT"))
    parser.add_argument("--repeats", type=int, default=11)
    how = parser.parse_args()
    for shape in how.shape or SHAPES:
        print(json.dumps(compare(tuple(shape), how.repeats)), flush=True)


if __name__ == "__main__":
    main()
