"""One UNet for pictures and volumes: the network of Rombach et al. 2022 as MONAI's DiffusionModelUNet has it."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from brain_diffusion_jax.models.attention import Tokens
from brain_diffusion_jax.models.embeddings import TimeMLP, timestep_embedding
from brain_diffusion_jax.models.layers import (
    Dtype,
    Features,
    GroupNorm,
    conv,
    coordinate_features,
    depth_to_space,
    pad_to_multiple,
    space_to_depth,
)
from brain_diffusion_jax.models.unet_blocks import BlockOptions, DownLevel, MiddleLevel, UpLevel


class UNet(nn.Module):
    """Noise (or what else the loss asks for) from a noisy picture, its time and a condition.

    channels, num_res_blocks, attention_levels, num_head_channels: one entry a level, finest first; a
    level without attention ignores its head channels (0 will do); the middle always has attention with
    the last entry. context_dim: width of the context tokens; None makes attention plain self-attention.
    num_class_embeds: size of a table of labels added to the time. patch_size p works on blocks of
    p x p (x p) pixels as channels: 1 is MONAI's network, more is cheaper. coordinates: octaves of
    position features beside the input (0, MONAI's network: none); registered heads are learned faster
    with them. Parameters are float32;
    dtype is that of the computation, norms and softmax excepted. remat: "none" | "blocks" recomputes
    residual and attention blocks in the backward pass; parameters have the same paths either way.
    scan_blocks: equal blocks (a level's after its first on the way down, and the layers of a transformer) are
    compiled once and scanned; their parameters are stacked, so such a network has other paths.
    fast_conv_gradient: see `convolution.convolve`; False allows forward-mode differentiation (jax.jvp).
    """

    spatial_dims: int = 2
    in_channels: int = 1
    out_channels: int = 1
    channels: tuple[int, ...] = (256, 256, 512)
    num_res_blocks: tuple[int, ...] = (2, 2, 2)
    attention_levels: tuple[bool, ...] = (False, False, True)
    num_head_channels: tuple[int, ...] = (0, 0, 512)
    norm_num_groups: int = 32
    norm_eps: float = 1e-6
    resblock_updown: bool = False
    transformer_num_layers: int = 1
    context_dim: int | None = None
    num_class_embeds: int | None = None
    upcast_attention: bool = False
    dropout_cattn: float = 0.0
    include_fc: bool = True
    use_combined_linear: bool = False
    patch_size: int = 1
    coordinates: int = 0
    dtype: Dtype = jnp.float32
    remat: str = "none"
    scan_blocks: bool = False
    fast_conv_gradient: bool = True

    @property
    def time_dim(self) -> int:
        """Width of the time embedding, and of `embedding` in the call."""
        return 4 * self.channels[0]

    @property
    def size_multiple(self) -> int:
        """Spatial sizes that are multiples of this need no padding."""
        return int(self.patch_size * 2 ** (len(self.channels) - 1))

    def _options(self) -> BlockOptions:
        return BlockOptions(
            groups=self.norm_num_groups,
            eps=self.norm_eps,
            resblock_updown=self.resblock_updown,
            cross_attention=self.context_dim is not None,
            transformer_num_layers=self.transformer_num_layers,
            upcast_attention=self.upcast_attention,
            dropout=self.dropout_cattn,
            include_fc=self.include_fc,
            combined_linear=self.use_combined_linear,
            remat=self.remat == "blocks",
            scan=self.scan_blocks,
            fast_gradient=self.fast_conv_gradient,
            dtype=self.dtype,
        )

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
        convolution's output first) and to the middle's output, as a ControlNet does.
        """
        if context is not None and self.context_dim is None:
            raise ValueError("a context was given, but context_dim is None: this UNet has no cross-attention")
        if (class_labels is None) != (self.num_class_embeds is None):
            raise ValueError(f"class_labels must be given if and only if num_class_embeds ({self.num_class_embeds}) is")
        dims, dtype, options = self.spatial_dims, self.dtype, self._options()
        if x.ndim != dims + 2 or x.shape[-1] != self.in_channels:
            raise ValueError(f"x has shape {x.shape}; expected [batch, {dims} spatial axes, {self.in_channels}]")
        x, inside = pad_to_multiple(x, self.size_multiple)
        x = space_to_depth(x, self.patch_size).astype(dtype)
        if self.coordinates:
            places = coordinate_features(x.shape[1:-1], self.coordinates).astype(dtype)
            x = jnp.concatenate([x, jnp.broadcast_to(places, (x.shape[0], *places.shape[1:]))], axis=-1)
        if context is not None:
            context = context.astype(dtype)

        time = TimeMLP(self.time_dim, dtype, name="time_mlp")(timestep_embedding(t, self.channels[0]))
        if class_labels is not None:
            assert self.num_class_embeds is not None
            table = nn.Embed(self.num_class_embeds, self.time_dim, dtype=dtype, name="class_embedding")
            time = time + table(class_labels)
        if embedding is not None:
            time = time + embedding.astype(time.dtype)

        x = conv(self.channels[0], dims, "conv_in", dtype=dtype)(x)
        states, depth = [x], len(self.channels)
        heads = tuple(h if a else 0 for h, a in zip(self.num_head_channels, self.attention_levels, strict=True))
        for i in range(depth):
            level = DownLevel(
                self.channels[i], self.num_res_blocks[i], heads[i], i == depth - 1, options, name=f"down_{i}"
            )
            x, new = level(x, time, context, train)
            states += new
        if down_residuals is not None:
            states = [s + r.astype(s.dtype) for s, r in zip(states, down_residuals, strict=True)]
        x = MiddleLevel(self.channels[-1], self.num_head_channels[-1], options, name="middle")(x, time, context, train)
        if mid_residual is not None:
            x = x + mid_residual.astype(x.dtype)
        for i in reversed(range(depth)):
            count = self.num_res_blocks[i] + 1
            states, mine = states[:-count], states[-count:]
            # Numbered along the way up, coarsest first.
            up = UpLevel(self.channels[i], count, heads[i], i == 0, options, name=f"up_{depth - 1 - i}")
            x = up(x, mine, time, context, train)
        x = nn.silu(GroupNorm(self.norm_num_groups, self.norm_eps, dtype, name="out_norm")(x))
        x = conv(self.out_channels * self.patch_size**dims, dims, "conv_out", zero=True, dtype=dtype)(x)
        return depth_to_space(x, self.patch_size)[inside].astype(jnp.float32)
