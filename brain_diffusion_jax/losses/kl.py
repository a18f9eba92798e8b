"""Distance of a Gaussian posterior from the standard normal (Kingma & Welling 2014, app. B)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Image


def kl_map(mean: Image, log_variance: Image) -> Image:
    """1/2 (mu^2 + sigma^2 - log sigma^2 - 1) of every latent number, in nats; float32, 0 or more."""
    mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
    # expm1: near the prior sigma^2 - 1 - log sigma^2 is a small difference of numbers near 1.
    return 0.5 * (jnp.square(mean) + jnp.expm1(log_variance) - log_variance)


def kl(mean: Image, log_variance: Image) -> Float[Array, " batch"]:
    """The sum of `kl_map` over all latent numbers of each sample, in nats."""
    found = kl_map(mean, log_variance)
    return found.sum(axis=tuple(range(1, found.ndim)))
