"""Numbers to vectors: the diffusion time and continuous covariates."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.models.layers import Dtype


def timestep_embedding(t: Float[Array, " batch"], width: int, max_period: float = 10_000.0) -> Float[Array, "batch w"]:
    """[cos(t f_k), sin(t f_k)] with f_k = max_period^(-k / (width // 2)); an odd width ends in a zero.

    Ho et al. 2020 in the order that MONAI uses (cosines first). float32 whatever t is.
    """
    half = width // 2
    frequencies = jnp.exp(-math.log(max_period) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.asarray(t, jnp.float32)[:, None] * frequencies
    embedding = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    return jnp.pad(embedding, ((0, 0), (0, width % 2)))


class TimeMLP(nn.Module):
    """Two dense layers with SiLU between, from any width to `width`."""

    width: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch n"]) -> Float[Array, "batch w"]:
        x = nn.Dense(self.width, dtype=self.dtype, name="dense_0")(x)
        return nn.Dense(self.width, dtype=self.dtype, name="dense_1")(nn.silu(x))


def fourier_features(value: Float[Array, " batch"], octaves: int = 6) -> Float[Array, "batch f"]:
    """A number on [0, 1] as itself (on [-1, 1]) and sin, cos of pi 2^k value, k < octaves.

    The lowest octave is monotone over the domain, so that the features are smooth slightly outside it;
    the highest (of 6: a period of 1/16) separates neighbouring slices.
    """
    angles = value[:, None] * (math.pi * 2.0 ** jnp.arange(octaves))
    return jnp.concatenate([2.0 * value[:, None] - 1.0, jnp.sin(angles), jnp.cos(angles)], axis=-1)
