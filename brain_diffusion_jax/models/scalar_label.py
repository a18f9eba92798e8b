"""The small UNet of Nguyen et al. 2023: the label as a number through a Linear, added in each block.

One plain convolution block a level; downwards 4x4 strided convolutions, upwards 4x4 transposed ones, skip
connections by concatenation; sinusoidal time and the raw label enter every block through a Linear of their
own. The original normalises by batch; groups stand in here (of 8), because batch statistics over
images at all noise levels do not fit a sampler, whose batch is at one level.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from brain_diffusion_jax.models.convolution import convolve
from brain_diffusion_jax.models.layers import Features

_GROUPS = 8
TIME_WIDTH = 32


def sinusoids(t: Float[Array, " b"], width: int = TIME_WIDTH) -> Float[Array, "b width"]:
    """sin and cos of t at width/2 frequencies from 1 to 1/10000."""
    half = width // 2
    angles = t.astype(jnp.float32)[:, None] * jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - 1))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


# nn.Conv with gradients that are fast on the CPU.
Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)


class LabelledBlock(nn.Module):
    """conv, norm, + Linear(time) + Linear(label), conv, norm, then half or double size."""

    features: int
    up: bool = False

    @nn.compact
    def __call__(self, x: Features, time: Float[Array, "b d"], label: Float[Array, "b n"]) -> Features:
        dims = x.ndim - 2
        y = nn.GroupNorm(_GROUPS, name="norm1")(nn.relu(Conv(self.features, (3,) * dims, name="conv1")(x)))
        shift = nn.relu(nn.Dense(self.features, name="time")(time)) + nn.Dense(self.features, name="label")(label)
        y = y + jnp.expand_dims(shift, range(1, dims + 1))
        y = nn.GroupNorm(_GROUPS, name="norm2")(nn.relu(Conv(self.features, (3,) * dims, name="conv2")(y)))
        resample = nn.ConvTranspose if self.up else Conv
        return resample(self.features, (4,) * dims, (2,) * dims, name="resample")(y)


class ScalarLabelUNet(nn.Module):
    """[b, *spatial, c] and t [b] -> [b, *spatial, c]; any size (padded and cropped inside).

    Each covariate is the number the schema encodes it as (the index of a category); an absent one is
    `null`. The original has no null: with null=0 an absent class is the first class.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    out_channels: int = 1
    null: float = -1.0

    @nn.compact
    def __call__(
        self,
        x: Features,
        t: Float[Array, " b"],
        values: Float[Array, "b n"],
        present: Bool[Array, "b n"],
        *,
        train: bool = False,
    ) -> Features:
        del train
        sizes, multiple = x.shape[1:-1], 2 ** (len(self.channels) - 1)
        x = jnp.pad(x, ((0, 0), *((0, -size % multiple) for size in sizes), (0, 0)))
        label = jnp.where(present, values, self.null).astype(jnp.float32)
        time = nn.relu(nn.Dense(TIME_WIDTH, name="time")(sinusoids(t)))
        x = Conv(self.channels[0], (3,) * len(sizes), name="conv_in")(x)
        skips = []
        for level, width in enumerate(self.channels[1:]):
            x = LabelledBlock(width, name=f"down{level}")(x, time, label)
            skips.append(x)
        for level, width in enumerate(self.channels[-2::-1]):
            x = LabelledBlock(width, up=True, name=f"up{level}")(
                jnp.concatenate([x, skips.pop()], axis=-1), time, label
            )
        x = Conv(self.out_channels, (1,) * len(sizes), name="conv_out")(x)
        return x[:, *(slice(size) for size in sizes)].astype(jnp.float32)
