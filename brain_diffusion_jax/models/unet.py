"""One UNet for images and volumes: the network of Rombach et al. 2022 as MONAI's DiffusionModelUNet has it."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from brain_diffusion_jax.models.attention import Tokens
from brain_diffusion_jax.models.embeddings import TimeMLP, timestep_embedding
from brain_diffusion_jax.models.haar import into_patches, out_of_patches
from brain_diffusion_jax.models.layers import (
    Features,
    GroupNorm,
    coordinate_features,
    pad_to_multiple,
)
from brain_diffusion_jax.models.unet_blocks import DownLevel, MiddleLevel, UpLevel, block_conv
from brain_diffusion_jax.models.unet_config import UNetConfig


class UNet(nn.Module):
    """The prediction target (such as the noise) from a noisy image, its time and a condition; see `UNetConfig`."""

    config: UNetConfig = UNetConfig()

    @nn.compact
    def __call__(
        self,
        x: Features,
        t: Float[Array, " batch"],
        context: Tokens | None = None,
        class_labels: Int[Array, " batch"] | None = None,
        embedding: Float[Array, "batch time_dim"] | None = None,
        *,
        train: bool = False,
        down_residuals: Sequence[Features] | None = None,
        mid_residual: Features | None = None,
    ) -> Features:
        """[b, *spatial, in] -> float32 [b, *spatial, out]; any size (edges are repeated, then cut off).

        context: [b, tokens, context_dim]. embedding: added to the time embedding. train: dropout, with an
        rng "dropout". down_residuals, mid_residual: added to the states of the way down (the first
        convolution's output first) and to the middle's output, as a ControlNet does. Raises ValueError where
        the arguments do not fit the config.
        """
        c = self.config
        if context is not None and not c.cross_attention:
            raise ValueError("a context was given, but context_dim is None: this UNet has no cross-attention")
        if (class_labels is None) != (c.num_class_embeds is None):
            raise ValueError(f"class_labels must be given if and only if num_class_embeds ({c.num_class_embeds}) is")
        dims, dtype = c.spatial_dims, c.compute_dtype
        if x.ndim != dims + 2 or x.shape[-1] != c.in_channels:
            raise ValueError(f"x has shape {x.shape}; expected [batch, {dims} spatial axes, {c.in_channels}]")
        x, inside = pad_to_multiple(x, c.size_multiple)
        x = into_patches(x, c.patch_size, c.patches).astype(dtype)
        if c.coordinates:
            positions = coordinate_features(x.shape[1:-1], c.coordinates).astype(dtype)
            x = jnp.concatenate([x, jnp.broadcast_to(positions, (x.shape[0], *positions.shape[1:]))], axis=-1)
        if context is not None:
            context = context.astype(dtype)

        time = TimeMLP(c.time_dim, dtype, name="time_mlp")(timestep_embedding(t, c.channels[0]))
        if class_labels is not None:
            assert c.num_class_embeds is not None
            table = nn.Embed(c.num_class_embeds, c.time_dim, dtype=dtype, name="class_embedding")
            time = time + table(class_labels)
        if embedding is not None:
            time = time + embedding.astype(time.dtype)

        x = block_conv(c, dims, c.channels[0], "conv_in")(x)
        states, depth = [x], len(c.channels)
        heads = tuple(h if a else 0 for h, a in zip(c.num_head_channels, c.attention_levels, strict=True))
        for i in range(depth):
            level = DownLevel(c.channels[i], c.num_res_blocks[i], heads[i], i == depth - 1, c, name=f"down_{i}")
            x, new = level(x, time, context, train)
            states += new
        if down_residuals is not None:
            states = [s + r.astype(s.dtype) for s, r in zip(states, down_residuals, strict=True)]
        x = MiddleLevel(c.channels[-1], c.num_head_channels[-1], c, name="middle")(x, time, context, train)
        if mid_residual is not None:
            x = x + mid_residual.astype(x.dtype)
        for i in reversed(range(depth)):
            count = c.num_res_blocks[i] + 1
            states, mine = states[:-count], states[-count:]
            # Numbered along the way up, coarsest first.
            up = UpLevel(c.channels[i], count, heads[i], i == 0, c, name=f"up_{depth - 1 - i}")
            x = up(x, mine, time, context, train)
        x = nn.silu(GroupNorm(c.norm_num_groups, c.norm_eps, dtype, name="out_norm")(x))
        x = block_conv(c, dims, c.out_channels * c.patch_size**dims, "conv_out", zero=True)(x)
        return out_of_patches(x, c.patch_size, c.patches)[inside].astype(jnp.float32)
