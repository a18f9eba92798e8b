"""Convolutions and matrix products whose gradients are fast on the CPU too; elsewhere, and forward, they are XLA's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Float

from brain_diffusion_jax.models.plane_convolution import Window, convolve_plane
from brain_diffusion_jax.models.volume_convolution import convolve_volume

Kernel = Float[Array, "*sizes c d"]
Pixels = Float[Array, "batch *spatial c"]


def convolve(
    x: Pixels, kernel: Kernel, strides: Sequence[int], padding: Any, *, precision: Any = None, **how: Any
) -> Float[Array, "batch *spatial2 d"]:
    """`lax.conv_general_dilated` as nn.Conv calls it: `convolve_plane` over two axes, `convolve_volume` over three.

    Those cannot be differentiated in forward mode (jax.jvp). Grouped and transposed convolutions, and those of a
    precision, are XLA's.
    """
    dims, sizes = x.ndim - 2, kernel.shape[:-2]
    dilations = tuple(how.get("rhs_dilation") or (1,) * dims)
    spans = [(size - 1) * apart + 1 for size, apart in zip(sizes, dilations, strict=True)]
    pads = lax.padtype_to_pads(x.shape[1:-1], spans, strides, padding) if isinstance(padding, str) else padding
    window = Window(tuple(strides), tuple((int(low), int(high)) for low, high in pads), dilations)
    ordinary = set(how.get("lhs_dilation") or ()) <= {1} and how.get("feature_group_count", 1) == 1
    if precision is None and ordinary and dims in (2, 3) and min(map(min, window.pads)) >= 0:
        return (convolve_plane if dims == 2 else convolve_volume)(x, kernel, window)
    return lax.conv_general_dilated(x, kernel, strides, padding, precision=precision, **how)


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
