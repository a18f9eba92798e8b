"""The layers that every network here is built from; channels-last, parameters and norms in float32."""

from __future__ import annotations

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from brain_diffusion_jax.models.convolution import convolve, product

Features = Float[Array, "batch *spatial channels"]
Dtype = Any


def conv(
    features: int,
    dims: int,
    name: str,
    *,
    kernel: int = 3,
    stride: int = 1,
    zero: bool = False,
    padding: tuple[int, int] | None = None,
    bias: float | None = 0.0,
    kernel_init: nn.initializers.Initializer | None = None,
    dtype: Dtype = None,
    fast_gradient: bool = True,
) -> nn.Module:
    """A convolution over `dims` axes with (kernel - 1) / 2 zeros on both sides, as torch pads (not SAME).

    zero: start with a kernel of zeros, so that the branch it ends adds nothing at first. padding: other zeros before
    and after each axis. bias: where it starts; None for a convolution without one. fast_gradient: see
    `convolution.convolve`.
    """
    kernel_init = nn.initializers.zeros if zero else kernel_init or nn.initializers.lecun_normal()
    if kernel == stride == 1 and bias is not None:
        return PointwiseConv(features, dims, kernel_init, dtype, fast_gradient, bias, name=name)
    return nn.Conv(
        features,
        (kernel,) * dims,
        strides=(stride,) * dims,
        padding=[padding or ((kernel - 1) // 2,) * 2] * dims,
        use_bias=bias is not None,
        kernel_init=kernel_init,
        bias_init=nn.initializers.constant(bias or 0.0),
        dtype=dtype,
        conv_general_dilated=convolve if fast_gradient else None,
        name=name,
    )


class PointwiseConv(nn.Module):
    """A convolution of size 1 as a matrix product, with the parameters of nn.Conv.

    The same sums; XLA's CPU convolution takes 2 to 9 times as long for their gradient.
    """

    features: int
    dims: int
    kernel_init: nn.initializers.Initializer
    dtype: Dtype = None
    fast_gradient: bool = False
    first_bias: float = 0.0

    @nn.compact
    def __call__(self, x: Features) -> Features:
        kernel = self.param("kernel", self.kernel_init, (*(1,) * self.dims, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.constant(self.first_bias), (self.features,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        kernel = kernel.reshape(kernel.shape[-2:])
        return (product(x, kernel) if self.fast_gradient else x @ kernel) + bias


class UpsampleConv(nn.Module):
    """A convolution of size 3 after `upsample_nearest`, with the parameters of nn.Conv, at the coarse resolution.

    A fine pixel sees two coarse ones along each axis, through sums of the three weights: each of the 2^d fine pixels
    of a coarse one is a channel of a convolution of size 2. The same sums in 8/27 (2D: 4/9) of the work.
    """

    features: int
    dims: int
    dtype: Dtype = None
    fast_gradient: bool = False

    @nn.compact
    def __call__(self, x: Features) -> Features:
        dims, channels = self.dims, x.shape[-1]
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (*(3,) * dims, channels, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, folded(kernel, dims), bias, dtype=self.dtype)
        spec = lax.conv_dimension_numbers(x.shape, kernel.shape, _channels_last(dims))
        apply = convolve if self.fast_gradient else lax.conv_general_dilated
        y = apply(x, kernel, (1,) * dims, ((1, 1),) * dims, dimension_numbers=spec)
        y = y.reshape(*y.shape[:-1], -1, self.features)
        # The pixel at phase a of coarse pixel m reads m - 1 + a and m + a.
        phases = [
            y[(slice(None), *(slice(a, a + size) for a, size in zip(phase, x.shape[1:-1])), ..., number, slice(None))]
            for number, phase in enumerate(itertools.product((0, 1), repeat=dims))
        ]
        return depth_to_space(jnp.concatenate(phases, axis=-1), 2) + bias


def _channels_last(dims: int) -> tuple[str, str, str]:
    axes = "DHW"[-dims:]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def folded(kernel: Float[Array, "*threes c d"], dims: int) -> Float[Array, "*twos c phases_d"]:
    """The kernel of size 2 whose 2^dims d channels are the fine pixels of `UpsampleConv`, the first axis slowest."""
    # taps[phase, tap, weight]: phase 0 reads (m - 1, m) with (w0, w1 + w2), phase 1 (m, m + 1) with (w0 + w1, w2).
    taps = jnp.asarray([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], kernel.dtype)
    for axis in range(dims):
        # The axis becomes two taps; its phase goes before d, after the phases of earlier axes.
        kernel = jnp.moveaxis(jnp.tensordot(taps, kernel, ((2,), (axis,))), (0, 1), (-2, axis))
    return kernel.reshape(*kernel.shape[: dims + 1], -1)


class GroupNorm(nn.Module):
    """Group normalisation over space and the channels of a group (Wu & He 2018), statistics in float32.

    Two passes for the variance: E[x^2] - E[x]^2 loses digits where the mean is large.
    """

    groups: int
    eps: float = 1e-6
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Features) -> Features:
        batch, channels = x.shape[0], x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        pixels = x.size // (batch * channels)
        # In two halves: XLA's CPU code for the gradient's sums over space is 5 to 10 times slower for a batch of 1.
        halves = 2 - pixels % 2
        wide = x.astype(jnp.float32).reshape(batch * halves, pixels // halves, channels)

        def over_groups(sums: Float[Array, "parts 1 channels"]) -> Float[Array, "parts 1 channels"]:
            grouped = sums.reshape(batch, halves, self.groups, -1)
            return jnp.broadcast_to(grouped.mean((1, 3), keepdims=True), grouped.shape).reshape(sums.shape)

        # Space first, then the channels of a group: only sums along the last axis but one vectorise.
        mean = over_groups(wide.mean(axis=1, keepdims=True))
        variance = over_groups(jnp.square(wide - mean).mean(axis=1, keepdims=True))
        # One multiply-add over the image: fold mean, variance, scale and bias per channel first.
        gain = jax.lax.rsqrt(variance + self.eps) * scale
        y = wide * gain + (bias - mean * gain)
        return y.reshape(x.shape).astype(self.dtype or x.dtype)


class PixelNorm(nn.Module):
    """Each position divided by the root of the mean square of its channels (Zhang & Sennrich 2019), in float32.

    It sees no other position, so that a crop is normalised as the whole image is. What is far below sqrt(eps) stays
    small: empty background is not blown up.
    """

    eps: float = 1e-3
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Features) -> Features:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        gain = jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + self.eps)
        return (wide * gain * scale + bias).astype(self.dtype or x.dtype)


def norm(groups: int, eps: float, dtype: Dtype, name: str) -> nn.Module:
    """GroupNorm, or of 0 groups PixelNorm."""
    return GroupNorm(groups, eps, dtype, name=name) if groups else PixelNorm(dtype=dtype, name=name)


def upsample_nearest(x: Features) -> Features:
    """Every pixel twice along every spatial axis."""
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, 2, axis=axis)
    return x


def average_halves(x: Features) -> Features:
    """The mean of each 2 x 2 (x 2) block; a last odd row is dropped, as in torch."""
    window = (2,) * (x.ndim - 2)
    return nn.avg_pool(x, window, strides=window)


def pad_to_multiple(x: Features, multiple: int) -> tuple[Features, tuple[slice, ...]]:
    """x with its edges repeated until every spatial size is a multiple, and the slices that cut them off again."""
    missing = [-size % multiple for size in x.shape[1:-1]]
    keep = tuple(slice(m // 2, m // 2 + size) for m, size in zip(missing, x.shape[1:-1], strict=True))
    if any(missing):
        x = jnp.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)], mode="edge")
    return x, (slice(None), *keep, slice(None))


def coordinate_features(sizes: tuple[int, ...], octaves: int) -> Float[Array, "1 *spatial d"]:
    """Position of each pixel: sin and cos of pi 2^k u / 2, k < octaves, u from -1 to 1 along each axis.

    d = 2 octaves a spatial axis.
    """
    angles = [jnp.pi * 2.0**k * jnp.linspace(-1.0, 1.0, size) for size in sizes for k in range(octaves)]
    planes = []
    for number, angle in enumerate(angles):
        axis = number // octaves
        along = angle.reshape([-1 if a == axis else 1 for a in range(len(sizes))])
        planes += [jnp.broadcast_to(wave(along / 2), sizes) for wave in (jnp.sin, jnp.cos)]
    return jnp.stack(planes, axis=-1)[None]


def space_to_depth(x: Features, patch: int) -> Features:
    """[b, *n, c] -> [b, *(n / patch), patch^d c]."""
    if patch == 1:
        return x
    batch, *sizes, channels = x.shape
    dims = len(sizes)
    split = [part for size in sizes for part in (size // patch, patch)]
    x = x.reshape(batch, *split, channels)
    coarse, fine = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)
    x = x.transpose(0, *coarse, *fine, 2 * dims + 1)
    return x.reshape(batch, *(size // patch for size in sizes), patch**dims * channels)


def depth_to_space(x: Features, patch: int) -> Features:
    """The inverse of `space_to_depth`."""
    if patch == 1:
        return x
    batch, *sizes, depth = x.shape
    dims = len(sizes)
    x = x.reshape(batch, *sizes, *(patch,) * dims, depth // patch**dims)
    pairs = [axis for d in range(dims) for axis in (1 + d, 1 + dims + d)]
    x = x.transpose(0, *pairs, 2 * dims + 1)
    return x.reshape(batch, *(size * patch for size in sizes), depth // patch**dims)
