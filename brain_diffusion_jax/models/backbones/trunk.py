"""The base of the age network's backbones: their settings and their two parametrised layers."""

from __future__ import annotations

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.models.convolution import convolve


class Trunk(nn.Module):
    """A convolutional backbone: [b, *spatial, in_channels] in [0, 1] -> [b, *spatial', d].

    width: factor on every channel count (1 is the published network).
    norm_eps: epsilon of batch normalisation; Keras files differ, so it is read from the file.
    axis_name: axis of `jax.pmap` to average batch statistics over; None under jit, where the batch is
    one array however it is sharded. frozen: prefixes of layer names whose batch statistics stay
    fixed in training; the optimizer skips their weights by the same names.
    """

    spatial_dims: ClassVar[int] = 2  # axes of an image; 3 for networks of volumes
    width: float = 1.0
    norm_eps: float = 1e-3
    dtype: Any = jnp.float32
    axis_name: str | None = None
    frozen: tuple[str, ...] = ()

    @property
    def in_channels(self) -> int:
        """Channels of the input: 3, colour, for the published backbones; 1, grey, for ours."""
        return 3

    def channels(self, published: int) -> int:
        """A published channel count scaled by `width`, at least 1."""
        return max(1, round(published * self.width))

    def conv(
        self,
        x: Float[Array, "b *spatial c"],
        channels: int,
        kernel: int | tuple[int, ...],
        name: str,
        *,
        stride: int = 1,
        padding: Any = "SAME",
        bias: bool = True,
    ) -> Float[Array, "b *spatial2 d"]:
        """A convolution to exactly `channels` channels (already scaled by `width`)."""
        dims = x.ndim - 2
        return nn.Conv(
            channels,
            (kernel,) * dims if isinstance(kernel, int) else kernel,
            strides=(stride,) * dims,
            padding=padding,
            use_bias=bias,
            dtype=self.dtype,
            conv_general_dilated=convolve,
            name=name,
        )(x)

    def norm(
        self, x: Float[Array, "b *spatial c"], name: str, train: bool, *, scale: bool = True, momentum: float = 0.99
    ) -> Float[Array, "b *spatial c"]:
        """Batch normalisation as in Keras; statistics are kept in float32."""
        moving = train and not name.startswith(tuple(self.frozen))
        return nn.BatchNorm(
            use_running_average=not moving,
            momentum=momentum,
            epsilon=self.norm_eps,
            use_fast_variance=False,  # E[x^2] - E[x]^2 loses digits that deep networks need
            use_scale=scale,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name=name,
        )(x)
