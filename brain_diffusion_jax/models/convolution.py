"""A convolution whose weight gradient is fast on the CPU too; elsewhere, and forward, it is XLA's.

XLA writes the gradient of a kernel as a convolution with one input feature and a window as large as the
image, for which its CPU code gathers single numbers. Here the window is the image without its last axis;
the last axis (u) and the batch (n) are features, which are summed over like channels:

  dW[k, j, c, d] = sum over n, p, u of x[n, p + k - r, u, c] g[n, p, u - (j - r), d],   r = (size - 1) / 2,

one convolution for each offset j - r along the last axis. scripts/bench_conv.py measures where it pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from brain_diffusion_jax.models.volume_convolution import Window, convolve_volume

# With fewer input or output channels XLA's own gradient is as fast, or faster.
FEWEST_CHANNELS = 128

Kernel = Float[Array, "*sizes c d"]
Pixels = Float[Array, "batch *spatial c"]


def convolve(
    x: Pixels, kernel: Kernel, strides: Sequence[int], padding: Any, *, precision: Any = None, **how: Any
) -> Float[Array, "batch *spatial2 d"]:
    """`lax.conv_general_dilated` as nn.Conv calls it, with `kernel_gradient` on the CPU where that pays.

    Over three axes it is `volume_convolution.convolve_volume`.
    Such a convolution cannot be differentiated in forward mode (jax.jvp).
    """
    dims, sizes = x.ndim - 2, kernel.shape[:-2]
    dilations = tuple(how.get("rhs_dilation") or (1,) * dims)
    spans = [(size - 1) * apart + 1 for size, apart in zip(sizes, dilations, strict=True)]
    pads = lax.padtype_to_pads(x.shape[1:-1], spans, strides, padding) if isinstance(padding, str) else padding
    pads = tuple((int(low), int(high)) for low, high in pads)
    ordinary = set(how.get("lhs_dilation") or ()) <= {1} and how.get("feature_group_count", 1) == 1
    ordinary = ordinary and precision is None and min(map(min, pads)) >= 0
    if ordinary and dims == 3:
        return convolve_volume(x, kernel, Window(tuple(strides), pads, dilations))
    centred = all(size % 2 and pad == (size // 2,) * 2 for size, pad in zip(sizes, pads, strict=True))
    wide = max(sizes) > 1 and min(kernel.shape[-2:]) >= FEWEST_CHANNELS
    if ordinary and dims == 2 and {*strides, *dilations} == {1} and centred and wide:
        return _centred(x, kernel)
    return lax.conv_general_dilated(x, kernel, strides, padding, precision=precision, **how)


def _plain(x: Pixels, kernel: Kernel) -> Float[Array, "batch *spatial d"]:
    """Stride 1 and (size - 1) / 2 zeros on both sides."""
    dims = x.ndim - 2
    channels_last = (0, dims + 1, *range(1, dims + 1))
    spec = lax.ConvDimensionNumbers(channels_last, (dims + 1, dims, *range(dims)), channels_last)
    pads = [(size // 2, size // 2) for size in kernel.shape[:-2]]
    return lax.conv_general_dilated(x, kernel, (1,) * dims, pads, dimension_numbers=spec)


@jax.custom_vjp
def product(x: Pixels, kernel: Float[Array, "c d"]) -> Float[Array, "batch *spatial d"]:
    """x @ kernel, with the gradient of the kernel as x^T g.

    JAX writes (g^T x)^T, and XLA's CPU code then works g out again, column by column.
    """
    return x @ kernel


def _product_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    return g @ kernel.T, lax.dot_general(x, g, ((rows, rows), ((), ())))


product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _product_backward)

_centred = jax.custom_vjp(_plain)


def _backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved

    def xla(x: Array, g: Array) -> Array:
        return jax.linear_transpose(lambda k: _plain(x, k), kernel)(g)[0]

    (dx,) = jax.linear_transpose(lambda a: _plain(a, kernel), x)(g)
    return dx, lax.platform_dependent(x, g, cpu=lambda x, g: kernel_gradient(x, g, kernel.shape[:-2]), default=xla)


_centred.defvjp(lambda x, kernel: (_plain(x, kernel), (x, kernel)), _backward)


def kernel_gradient(x: Pixels, g: Float[Array, "batch *spatial d"], sizes: tuple[int, ...]) -> Kernel:
    """The gradient of a kernel [*sizes, c, d] from the input x and the gradient g of the output.

    Of a convolution with stride 1 and (size - 1) / 2 zeros on both sides, over two axes or more; odd sizes. Three have
    `volume_convolution`.
    """
    dims = x.ndim - 2
    window = tuple(range(1, dims))  # the axes that stay spatial
    rows = x.shape[1:dims]
    # The barriers keep the transposed and shifted copies: fused into their users they are made again, slowly.
    first = lax.optimization_barrier(x.transpose(dims + 1, *window, 0, dims).reshape(x.shape[-1], *rows, -1))
    last = g.transpose(*window, 0, dims, dims + 1)
    channels_first = (0, dims, *range(1, dims))
    spec = lax.ConvDimensionNumbers(channels_first, (dims, dims - 1, *range(dims - 1)), channels_first)
    pads = [(size // 2, size // 2) for size in sizes[:-1]]

    def at(offset: int) -> Float[Array, "c *window d"]:
        edges = [(0, 0, 0)] * dims + [(offset, -offset, 0), (0, 0, 0)]
        shifted = lax.optimization_barrier(lax.pad(last, jnp.zeros((), g.dtype), edges)) if offset else last
        shifted = shifted.reshape(*rows, -1, g.shape[-1])
        return lax.conv_general_dilated(first, shifted, (1,) * (dims - 1), pads, dimension_numbers=spec)

    reach = sizes[-1] // 2
    offsets = jnp.stack([at(offset) for offset in range(-reach, reach + 1)], axis=dims)
    return jnp.moveaxis(offsets, 0, -2)
