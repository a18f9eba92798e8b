"""A convolution over two axes whose gradients are fast on the CPU, anywhere in a program; elsewhere they are XLA's.

XLA writes gradients as convolutions with other orders of the axes. Its CPU code puts them into the order that it is
fast in, but not inside a branch, a loop or a scan, where they take 10 to 30 times as long: here they are written in
that order. The gradient of a kernel is a convolution with a window as large as the image besides, for which the CPU
code gathers single numbers. Where that pays, the window is the image without its last axis; the last axis (u) and the
batch (n) are features, which are summed over like channels:

  dW[k, j, c, d] = sum over n, p, u of x[n, p + k - before, u, c] g[n, p, u - (j - before), d],

one convolution for each j. scripts/bench_conv.py measures where it pays.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# With fewer input or output channels the window over the whole image is as fast, or faster.
FEWEST_CHANNELS = 4
_ORDER = ("NHWC", "HWIO", "NHWC")

Plane = Float[Array, "batch rows cols c"]
Kernel = Float[Array, "i j c d"]


class Window(NamedTuple):
    """strides, zeros before and after, and the distance between the kernel's weights, of each axis."""

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilations: tuple[int, ...]


def plain(x: Plane, kernel: Kernel, how: Window) -> Plane:
    """The convolution as XLA has it."""
    return lax.conv_general_dilated(x, kernel, how.strides, how.pads, None, how.dilations, _ORDER)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_plane(x: Plane, kernel: Kernel, how: Window) -> Plane:
    """`lax.conv_general_dilated` over two axes, channels last. Cannot be differentiated in forward mode (jax.jvp)."""
    return plain(x, kernel, how)


def _backward(how: Window, saved: tuple[Array, Array], g: Plane) -> tuple[Array, Array]:
    def cpu(x: Plane, kernel: Kernel, g: Plane) -> tuple[Array, Array]:
        sizes = kernel.shape[:2]
        own = {*how.strides, *how.dilations} == {1} and min(kernel.shape[2:]) >= FEWEST_CHANNELS
        dkernel = kernel_gradient(x, g, sizes, how.pads) if own else whole_kernel_gradient(x, g, sizes, how)
        return input_gradient(kernel, g, x.shape, how), dkernel

    def default(x: Plane, kernel: Kernel, g: Plane) -> tuple[Array, Array]:
        return jax.vjp(lambda x, kernel: plain(x, kernel, how), x, kernel)[1](g)  # type: ignore[no-any-return]

    return lax.platform_dependent(*saved, g, cpu=cpu, default=default)


convolve_plane.defvjp(lambda x, kernel, how: (plain(x, kernel, how), (x, kernel)), _backward)


def input_gradient(kernel: Kernel, g: Plane, shape: tuple[int, ...], how: Window) -> Plane:
    """The gradient of an input of `shape` from that of the output."""
    pads = []
    for size, out, span, (low, _), stride in zip(
        shape[1:3], g.shape[1:3], _spans(kernel.shape, how), how.pads, how.strides, strict=True
    ):
        before = span - 1 - low
        pads.append((before, size + span - 2 - (out - 1) * stride - before))
    turned = lax.optimization_barrier(jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2))
    return lax.conv_general_dilated(g, turned, (1, 1), pads, how.strides, how.dilations, _ORDER)


def whole_kernel_gradient(x: Plane, g: Plane, sizes: tuple[int, ...], how: Window) -> Kernel:
    """The gradient of a kernel of `sizes`: a convolution of the images, over the batch, with all of the output's."""
    pads = [
        (low, (out - 1) * stride + span - size - low)
        for size, out, span, (low, _), stride in zip(
            x.shape[1:3], g.shape[1:3], _spans(sizes, how), how.pads, how.strides, strict=True
        )
    ]
    # With the zeros in the images: a window that is larger than its image is slow.
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)])
    images, window = lax.optimization_barrier((padded.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)))
    found = lax.conv_general_dilated(images, window, how.dilations, "VALID", None, how.strides, _ORDER)
    return found.transpose(1, 2, 0, 3)


def _spans(sizes: tuple[int, ...], how: Window) -> list[int]:
    return [(size - 1) * apart + 1 for size, apart in zip(sizes, how.dilations, strict=False)]


def kernel_gradient(x: Plane, g: Plane, sizes: tuple[int, ...], pads: tuple[tuple[int, int], ...]) -> Kernel:
    """The gradient of a kernel of `sizes`; stride 1, no dilation."""
    columns, across = x.shape[2], pads[1][0]
    # The barriers keep the transposed and shifted copies: fused into their users they are made again, slowly. Rows of
    # zeros are among the copies: a window that is larger than its image is slow.
    zero = jnp.zeros((), x.dtype)
    padded = lax.pad(x, zero, [(0, 0, 0), (*pads[0], 0), (0, 0, 0), (0, 0, 0)]).transpose(3, 1, 0, 2)
    first = lax.optimization_barrier(padded.reshape(x.shape[-1], padded.shape[1], -1))
    last = g.transpose(1, 0, 2, 3)

    def at(j: int) -> Float[Array, "c i d"]:
        offset = j - across  # from an output to the column that it reads
        edges = [(0, 0, 0), (0, 0, 0), (offset, columns - g.shape[2] - offset, 0), (0, 0, 0)]
        shifted = lax.optimization_barrier(lax.pad(last, zero, edges))
        shifted = shifted.reshape(g.shape[1], -1, g.shape[-1])
        return lax.conv_general_dilated(first, shifted, (1,), "VALID", dimension_numbers=("NHC", "HIO", "NHC"))

    found = jnp.stack([at(j) for j in range(sizes[1])], axis=2)  # [c, i, j, d]
    return jnp.moveaxis(found, 0, 2)
