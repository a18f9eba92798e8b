"""Gaussian-weighted means of every window of an image, along any number of axes."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.ssim_window import gaussian_line

WINDOW = 7  # of the similarities of volumes; that of slices (`ssim`) is 11 wide


def window_means(x: Float[Array, "b *spatial c"], width: int = WINDOW) -> Float[Array, "b *windows c"]:
    """Means over windows of `width` pixels an axis that lie wholly inside the image; each axis loses width - 1.

    Weights: a Gaussian of sigma 1.5 that sums to 1.
    """
    if min(x.shape[1:-1]) < width:
        raise InputError("similarity", "image size", x.shape[1:-1], f"at least {width} pixels along each axis")
    line = gaussian_line(width)
    for axis in range(1, x.ndim - 1):
        windows = x.shape[axis] - width + 1
        x = sum((float(w) * lax.slice_in_dim(x, k, k + windows, axis=axis) for k, w in enumerate(line)), jnp.zeros(()))
        # One pass an axis: fused, all 343 products of a window would be made anew. Ten times faster than matrices.
        x = lax.optimization_barrier(x)
    return x


def centre(x: Float[Array, "b *spatial c"], margin: int) -> Float[Array, "b *inner c"]:
    """The image without `margin` pixels on every side."""
    return x[(slice(None), *[slice(margin, -margin)] * (x.ndim - 2))]
