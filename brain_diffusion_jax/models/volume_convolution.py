"""A 3D convolution that is fast on the CPU too; elsewhere it is XLA's.

XLA's CPU code has a fast convolution for two axes only. One over three axes with a kernel of `size` planes along the
first is `size` convolutions over the other two, each over all planes of all images as a batch, whose results are
summed where they meet. Its weight gradient is

  dW[t] = sum over p of x[p + t - before] g[p],   t = (i, j, k),

a matrix product over the positions p for each t. Positions are flattened with a gap of zeros after every row, so that
a shift is one offset; x is laid side by side for every k, and g for every i, so that a product has enough columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from brain_diffusion_jax.models.plane_convolution import Window, convolve_plane

Volume = Float[Array, "batch x y z c"]
Kernel = Float[Array, "i j k c d"]
# With fewer input or output channels XLA's own gradient of the planes is as fast, or faster.
FEWEST_CHANNELS = 32
_VOLUMES = ("NDHWC", "DHWIO", "NDHWC")


def whole(x: Volume, kernel: Kernel, how: Window) -> Volume:
    """The convolution as XLA has it."""
    return lax.conv_general_dilated(
        x, kernel, how.strides, how.pads, rhs_dilation=how.dilations, dimension_numbers=_VOLUMES
    )


def by_planes(x: Volume, kernel: Kernel, how: Window) -> Volume:
    """The convolution as one over two axes for each plane of the kernel."""
    x = jnp.pad(x, ((0, 0), how.pads[0], (0, 0), (0, 0), (0, 0)))
    stride, apart = how.strides[0], how.dilations[0]
    in_plane = Window(how.strides[1:], how.pads[1:], how.dilations[1:])
    planes = (x.shape[1] - (kernel.shape[0] - 1) * apart - 1) // stride + 1

    def one(i: int) -> Float[Array, "planes_of_batch y2 z2 d"]:
        there = lax.slice_in_dim(x, i * apart, i * apart + (planes - 1) * stride + 1, stride, axis=1)
        return convolve_plane(there.reshape(-1, *x.shape[2:]), kernel[i], in_plane)

    total = sum((one(i) for i in range(1, kernel.shape[0])), start=one(0))
    return total.reshape(x.shape[0], planes, *total.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_volume(x: Volume, kernel: Kernel, how: Window) -> Volume:
    """`lax.conv_general_dilated` over three axes, channels last; on the CPU by planes.

    Cannot be differentiated in forward mode (jax.jvp).
    """
    cpu, default = (partial(convolution, how=how) for convolution in (by_planes, whole))
    return lax.platform_dependent(x, kernel, cpu=cpu, default=default)


def _forward(x: Volume, kernel: Kernel, how: Window) -> tuple[Volume, tuple[Array, Array]]:
    return convolve_volume(x, kernel, how), (x, kernel)


def _backward(how: Window, saved: tuple[Array, Array], g: Volume) -> tuple[Array, Array]:
    x, kernel = saved
    sizes = kernel.shape[:3]

    def input_gradient(convolution: Callable[..., Volume], kernel: Kernel, g: Volume) -> Volume:
        return jax.vjp(lambda a: convolution(a, kernel, how), x)[1](g)[0]

    def weight_gradient(convolution: Callable[..., Volume], x: Volume, g: Volume) -> Kernel:
        return jax.vjp(lambda k: convolution(x, k, how), kernel)[1](g)[0]

    def by_products(x: Volume, g: Volume) -> Kernel:
        return kernel_gradient(x, g, sizes, how.pads)

    plain = {*how.strides, *how.dilations} == {1} and all(max(p) < size for p, size in zip(how.pads, sizes))
    pays = plain and min(kernel.shape[-2:]) >= FEWEST_CHANNELS
    on_cpu = by_products if pays else partial(weight_gradient, by_planes)
    dx = lax.platform_dependent(
        kernel, g, cpu=partial(input_gradient, by_planes), default=partial(input_gradient, whole)
    )
    return dx, lax.platform_dependent(x, g, cpu=on_cpu, default=partial(weight_gradient, whole))


convolve_volume.defvjp(_forward, _backward)


def kernel_gradient(x: Volume, g: Volume, sizes: tuple[int, ...], pads: tuple[tuple[int, int], ...]) -> Kernel:
    """The gradient of a kernel [*sizes, c, d] from the input x and the gradient g of the output, stride 1.

    pads: none wider than the kernel less 1.
    """
    rows = [size + max(pad) for size, pad in zip(x.shape[1:4], pads, strict=True)]
    steps = [math.prod(rows[axis + 1 :]) for axis in range(3)]  # how far apart neighbours along an axis are

    def flatten(a: Volume) -> Float[Array, "positions channels"]:
        edges = [(0, 0), *((0, row - size) for row, size in zip(rows, a.shape[1:4], strict=True)), (0, 0)]
        return jnp.pad(a, edges).reshape(-1, a.shape[-1])

    def ahead(a: Float[Array, "positions channels"], offset: int) -> Float[Array, "positions channels"]:
        """a[p + offset], zeros outside."""
        return lax.pad(a, jnp.zeros((), a.dtype), ((-offset, offset, 0), (0, 0, 0)))

    x_flat, g_flat = flatten(x), flatten(g)
    beside = [ahead(x_flat, (k - pads[2][0]) * steps[2]) for k in range(sizes[2])]
    below = [ahead(g_flat, (pads[0][0] - i) * steps[0]) for i in range(sizes[0])]
    # The barriers keep the copies: fused into the products they are made again, slowly.
    left, right = lax.optimization_barrier((jnp.concatenate(beside, axis=-1), jnp.concatenate(below, axis=-1)))

    def product(j: int) -> Float[Array, "kc id"]:
        rows_of_x = lax.optimization_barrier(ahead(left, (j - pads[1][0]) * steps[1]))
        return lax.dot_general(rows_of_x, right, (((0,), (0,)), ((), ())))

    products = jnp.stack([product(j) for j in range(sizes[1])])
    parts = products.reshape(sizes[1], sizes[2], x.shape[-1], sizes[0], g.shape[-1])
    return parts.transpose(3, 0, 1, 2, 4)
