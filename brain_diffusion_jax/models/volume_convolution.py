"""A 3D convolution that is fast on the CPU too; elsewhere it is XLA's.

XLA's CPU code has a fast convolution for two axes only. One over three axes with a kernel of `size` planes along the
first is `size` convolutions over the other two, each over all planes of all images as a batch, whose results are
summed where they meet. Their gradients are those of `plane_convolution`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from brain_diffusion_jax.models.plane_convolution import Window, convolve_plane

Volume = Float[Array, "batch x y z c"]
Kernel = Float[Array, "i j k c d"]
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
    return lax.platform_dependent(x, kernel, cpu=partial(by_planes, how=how), default=partial(whole, how=how))


def _backward(how: Window, saved: tuple[Array, Array], g: Volume) -> tuple[Array, Array]:
    def gradients(convolution: Callable[..., Volume], x: Volume, kernel: Kernel, g: Volume) -> tuple[Array, Array]:
        return jax.vjp(partial(convolution, how=how), x, kernel)[1](g)  # type: ignore[no-any-return]

    return lax.platform_dependent(*saved, g, cpu=partial(gradients, by_planes), default=partial(gradients, whole))


convolve_volume.defvjp(lambda x, kernel, how: (convolve_volume(x, kernel, how), (x, kernel)), _backward)
