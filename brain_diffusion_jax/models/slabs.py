"""Decoding an image slab by slab along its first axis, where the whole would take too much memory.

Most memory is needed at the finest level. Everything before it is done whole; then each slab is made from its part of
the features with as many beside it as a pixel depends on. Slabs equal the whole image: nothing is blended.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.models.autoencoder import Autoencoder, Latent
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig
from brain_diffusion_jax.models.layers import Features


def decode_slabs(
    module: Autoencoder, params: Params, z: Latent, sizes: tuple[int, ...] | None = None, slabs: int = 1
) -> Features:
    """`Autoencoder.decode` in so many slabs, or as many as there are; 1 is whole.

    Raises ValueError for more slabs than one where the finest level looks at whole images
    (`AutoencoderConfig.sees_whole_images`).
    """
    config = module.config
    if slabs == 1:
        return module.apply({"params": params}, z, sizes, method="decode")  # type: ignore[return-value]
    if config.sees_whole_images:
        raise ValueError(f"slabs={slabs}; expected 1: {config.sees_whole_images} looks at whole images")
    x: jax.Array = module.apply({"params": params}, z, method="coarse")  # type: ignore[assignment]
    length, factor, radius = x.shape[1], config.fine_factor, config.fine_radius
    own = -(-length // slabs)
    width = min(own + 2 * radius, length)

    def slab(number: jax.Array, image: Features) -> Features:
        first = jnp.minimum(number * own, length - own)  # the last overlaps the one before, with equal numbers
        start = jnp.clip(first - radius, 0, length - width)  # at an edge zeros are where they are in the whole
        part = lax.dynamic_slice_in_dim(x, start, width, axis=1)
        made: jax.Array = module.apply({"params": params}, part, method="fine")  # type: ignore[assignment]
        kept = lax.dynamic_slice_in_dim(made, (first - start) * factor, own * factor, axis=1)
        return lax.dynamic_update_slice_in_dim(image, kept, first * factor, axis=1)

    shape = (x.shape[0], *(size * factor for size in x.shape[1:-1]), module.out_channels or module.in_channels)
    whole = lax.fori_loop(0, -(-length // own), slab, jnp.zeros(shape, jnp.float32))
    return module.apply({"params": params}, whole, sizes, method="inside")  # type: ignore[return-value]


def slab_counts(config: AutoencoderConfig, size: int) -> list[int]:
    """Counts worth trying for an image of so many pixels along the axis: 1, doubled and doubled, one a feature.

    1 alone where the finest level looks at whole images.
    """
    most = (
        1 if config.sees_whole_images else -(-size // config.size_multiple) * config.size_multiple // config.fine_factor
    )
    counts = [1]
    while counts[-1] < most:
        counts.append(min(2 * counts[-1], most))
    return counts
