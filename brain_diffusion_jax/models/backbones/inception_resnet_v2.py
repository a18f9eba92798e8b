"""InceptionResNetV2 without its classifier (Szegedy et al. 2017), wired as in keras.applications.

Layers are written in the order in which Keras creates them, because most of them carry only a number
there; conversion matches them by that order.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.models.backbones.trunk import Trunk

Map = Float[Array, "b rows cols c"]


class InceptionResNetV2(Trunk):
    """[b, rows, cols, 3], each side at least 75 -> [b, ~rows/32, ~cols/32, 1536 width].

    residual_scales: factor on the residual branch in blocks 35, 17, 8 and in the last block 8.
    """

    residual_scales: tuple[float, float, float, float] = (0.17, 0.1, 0.2, 1.0)

    def unit(self, x: Map, published: int, kernel: int | tuple[int, int], name: str, train: bool, **keys) -> Map:
        """Convolution without bias, normalisation without gamma, ReLU."""
        x = self.conv(x, self.channels(published), kernel, name, bias=False, **keys)
        return nn.relu(self.norm(x, f"{name}_bn", train, scale=False))

    @nn.compact
    def __call__(self, x: Float[Array, "b rows cols 3"], train: bool = False) -> Map:
        x = self._stem(x, train)
        x = self._mixed_5b(x, train)
        scales = self.residual_scales
        for block in range(1, 11):
            x = self._residual(x, "block35", block, ((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)), train)
        x = self._mixed_6a(x, train)
        long17 = ((128, 1), (160, (1, 7)), (192, (7, 1)))
        for block in range(1, 21):
            x = self._residual(x, "block17", block, ((192, 1),), long17, None, train)
        x = self._mixed_7a(x, train)
        long8 = ((192, 1), (224, (1, 3)), (256, (3, 1)))
        for block in range(1, 11):
            x = self._residual(x, "block8", block, ((192, 1),), long8, None, train)
        assert len(scales) == 4
        return self.unit(x, 1536, 1, "conv_7b", train)

    def _scale(self, kind: str, block: int) -> float:
        a, b, c, last = self.residual_scales
        return last if (kind, block) == ("block8", 10) else {"block35": a, "block17": b, "block8": c}[kind]

    def _stem(self, x: Map, train: bool) -> Map:
        x = self.unit(x, 32, 3, "stem_1", train, stride=2, padding="VALID")
        x = self.unit(x, 32, 3, "stem_2", train, padding="VALID")
        x = self.unit(x, 64, 3, "stem_3", train)
        x = nn.max_pool(x, (3, 3), (2, 2))
        x = self.unit(x, 80, 1, "stem_4", train, padding="VALID")
        x = self.unit(x, 192, 3, "stem_5", train, padding="VALID")
        return nn.max_pool(x, (3, 3), (2, 2))

    def _mixed_5b(self, x: Map, train: bool) -> Map:
        a = self.unit(x, 96, 1, "mixed_5b_0", train)
        b = self.unit(x, 48, 1, "mixed_5b_1a", train)
        b = self.unit(b, 64, 5, "mixed_5b_1b", train)
        c = self.unit(x, 64, 1, "mixed_5b_2a", train)
        c = self.unit(c, 96, 3, "mixed_5b_2b", train)
        c = self.unit(c, 96, 3, "mixed_5b_2c", train)
        # Keras leaves the zeros of the border out of the mean.
        pooled = nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)
        d = self.unit(pooled, 64, 1, "mixed_5b_pool", train)
        return jnp.concatenate([a, b, c, d], axis=-1)

    def _mixed_6a(self, x: Map, train: bool) -> Map:
        a = self.unit(x, 384, 3, "mixed_6a_0", train, stride=2, padding="VALID")
        b = self.unit(x, 256, 1, "mixed_6a_1a", train)
        b = self.unit(b, 256, 3, "mixed_6a_1b", train)
        b = self.unit(b, 384, 3, "mixed_6a_1c", train, stride=2, padding="VALID")
        return jnp.concatenate([a, b, nn.max_pool(x, (3, 3), (2, 2))], axis=-1)

    def _mixed_7a(self, x: Map, train: bool) -> Map:
        a = self.unit(x, 256, 1, "mixed_7a_0a", train)
        a = self.unit(a, 384, 3, "mixed_7a_0b", train, stride=2, padding="VALID")
        b = self.unit(x, 256, 1, "mixed_7a_1a", train)
        b = self.unit(b, 288, 3, "mixed_7a_1b", train, stride=2, padding="VALID")
        c = self.unit(x, 256, 1, "mixed_7a_2a", train)
        c = self.unit(c, 288, 3, "mixed_7a_2b", train)
        c = self.unit(c, 320, 3, "mixed_7a_2c", train, stride=2, padding="VALID")
        return jnp.concatenate([a, b, c, nn.max_pool(x, (3, 3), (2, 2))], axis=-1)

    def _residual(self, x: Map, kind: str, block: int, *branches_and_train) -> Map:
        """x + scale * projection(branches); ReLU except after the last block 8."""
        *branches, train = branches_and_train
        name = f"{kind}_{block}"
        outputs = []
        for index, branch in enumerate(b for b in branches if b is not None):
            y = x
            for step, (published, kernel) in enumerate(branch):
                y = self.unit(y, published, kernel, f"{name}_{index}{'abc'[step]}", train)
            outputs.append(y)
        mixed = jnp.concatenate(outputs, axis=-1)
        up = self.conv(mixed, x.shape[-1], 1, f"{name}_conv")
        x = x + jnp.asarray(self._scale(kind, block), x.dtype) * up
        return x if name == "block8_10" else nn.relu(x)
