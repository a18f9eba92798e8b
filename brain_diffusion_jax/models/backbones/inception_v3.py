"""InceptionV3 (Szegedy et al. 2015) as a feature extractor, in the variant that FID is computed with.

The FID variant (the weights of 2015-12-05 that pytorch-fid converted) differs from the paper's and
Keras' network in one place: the pooling branch of the last block takes the maximum, where theirs takes
the mean. `fid=False` is the network of Keras. Average pooling never counts the padded border, as in
TensorFlow. Module names are those of pytorch-fid's weights file.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

INPUT_SIZE = 299


def prepare_input(images: Float[Array, "n r c k"]) -> Float[Array, "n 299 299 3"]:
    """Images in [0, 1], 1 or 3 channels, at 299x299 in [-1, 1]: bilinear, half-pixel centres, no antialiasing."""
    n = images.shape[0]
    resized = jax.image.resize(
        images, (n, INPUT_SIZE, INPUT_SIZE, images.shape[-1]), method="bilinear", antialias=False
    )
    return jnp.broadcast_to(2 * resized - 1, (n, INPUT_SIZE, INPUT_SIZE, 3))


def mean_pool(x: jax.Array) -> jax.Array:
    """3x3 mean, stride 1, same size; the border is not counted."""
    return nn.avg_pool(x, (3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation with stored statistics (eps 1e-3), ReLU."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    strides: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        strides = (self.strides, self.strides)
        x = nn.Conv(self.features, self.kernel, strides, self.padding, use_bias=False, name="conv")(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


def _chain(x: jax.Array, steps: Sequence[tuple[str, int, tuple[int, int]]]) -> jax.Array:
    """Convolutions one after the other: (name, features, kernel)."""
    for name, features, kernel in steps:
        x = ConvNorm(features, kernel, name=name)(x)
    return x


class BlockA(nn.Module):
    """35x35: 1x1, 5x5, double 3x3 and pooled branches."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        branches = [
            _chain(x, [("branch1x1", 64, (1, 1))]),
            _chain(x, [("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5))]),
            _chain(x, [("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3))]),
            _chain(mean_pool(x), [("branch_pool", self.pool_features, (1, 1))]),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockB(nn.Module):
    """35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        double = _chain(x, [("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3))])
        branches = [
            ConvNorm(384, (3, 3), 2, "VALID", name="branch3x3")(x),
            ConvNorm(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(double),
            nn.max_pool(x, (3, 3), strides=(2, 2)),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockC(nn.Module):
    """17x17: 7x7 convolutions split into 1x7 and 7x1."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        w, row, column = self.width, (1, 7), (7, 1)
        double = [("1", w, (1, 1)), ("2", w, column), ("3", w, row), ("4", w, column), ("5", 192, row)]
        branches = [
            _chain(x, [("branch1x1", 192, (1, 1))]),
            _chain(x, [("branch7x7_1", w, (1, 1)), ("branch7x7_2", w, row), ("branch7x7_3", 192, column)]),
            _chain(x, [(f"branch7x7dbl_{number}", features, kernel) for number, features, kernel in double]),
            _chain(mean_pool(x), [("branch_pool", 192, (1, 1))]),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockD(nn.Module):
    """17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        plain = _chain(x, [("branch3x3_1", 192, (1, 1))])
        split = [("branch7x7x3_1", 192, (1, 1)), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1))]
        branches = [
            ConvNorm(320, (3, 3), 2, "VALID", name="branch3x3_2")(plain),
            ConvNorm(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(_chain(x, split)),
            nn.max_pool(x, (3, 3), strides=(2, 2)),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockE(nn.Module):
    """8x8, with branches that fork; max_pool is the FID variant's last block."""

    max_pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def fork(y: jax.Array, name: str) -> list[jax.Array]:
            return [ConvNorm(384, (1, 3), name=f"{name}a")(y), ConvNorm(384, (3, 1), name=f"{name}b")(y)]

        plain = _chain(x, [("branch3x3_1", 384, (1, 1))])
        double = _chain(x, [("branch3x3dbl_1", 448, (1, 1)), ("branch3x3dbl_2", 384, (3, 3))])
        pooled = nn.max_pool(x, (3, 3), strides=(1, 1), padding="SAME") if self.max_pool else mean_pool(x)
        branches = [
            _chain(x, [("branch1x1", 320, (1, 1))]),
            *fork(plain, "branch3x3_2"),
            *fork(double, "branch3x3dbl_3"),
            _chain(pooled, [("branch_pool", 192, (1, 1))]),
        ]
        return jnp.concatenate(branches, axis=-1)


class InceptionV3(nn.Module):
    """Feature maps by their number of channels, up to `last` (64, 192, 768 or 2048).

    Input: [n, rows, cols, 3] in [-1, 1], made by `prepare_input`. Pool the maps over space for FID.
    """

    last: int = 2048
    fid: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n r c 3"]) -> dict[int, jax.Array]:
        maps: dict[int, jax.Array] = {}
        x = ConvNorm(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = ConvNorm(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = ConvNorm(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = maps[64] = nn.max_pool(x, (3, 3), strides=(2, 2))
        if self.last == 64:
            return maps
        x = ConvNorm(80, (1, 1), 1, "VALID", name="Conv2d_3b_1x1")(x)
        x = ConvNorm(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = maps[192] = nn.max_pool(x, (3, 3), strides=(2, 2))
        if self.last == 192:
            return maps
        for name, pool_features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(pool_features, name=name)(x)
        x = BlockB(name="Mixed_6a")(x)
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = BlockC(width, name=name)(x)
        maps[768] = x
        if self.last == 768:
            return maps
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(name="Mixed_7b")(x)
        maps[2048] = BlockE(max_pool=self.fid, name="Mixed_7c")(x)
        return maps
