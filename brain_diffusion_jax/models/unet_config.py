"""The settings of the UNet: the section `model` of a config, declared once, and held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import jax.numpy as jnp

from brain_diffusion_jax.errors import nearest, require
from brain_diffusion_jax.models.layers import Dtype

PATCHES = ("pixels", "haar")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
_PER_LEVEL = ("num_res_blocks", "attention_levels", "num_head_channels")


@dataclass(frozen=True)
class ModelConfig:
    """The section `model` of a config. With conditioning.mode "scalar" only channels and out_channels are read.

    channels, num_res_blocks, attention_levels, num_head_channels: one entry a level, finest first (one number
    stands for every level); a level without attention ignores its head channels (give 0); the middle always has
    attention with the last entry. context_dim: width of the context tokens; None makes attention plain
    self-attention. num_class_embeds: size of a table of labels added to the time. patch_size p works on blocks of
    p x p (x p) pixels as channels: 1 is MONAI's network, more is cheaper. patches: "pixels", or "haar": their wavelets
    (`models.haar`; patch_size 2, 4, 8 ...), of 2 the sub-bands of Friedrich et al. 2024. coordinates: octaves of
    position features joined to the input (0, as in MONAI's network: none); they make registered heads faster to learn.
    Parameters are float32; dtype is that of the computation, norms and softmax excepted. remat: "none" | "blocks"
    recomputes residual and attention blocks in the backward pass; parameters have the same paths either way.
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
    context_dim: int | None = 64
    num_class_embeds: int | None = None
    upcast_attention: bool = False
    dropout_cattn: float = 0.0
    include_fc: bool = True
    use_combined_linear: bool = False
    patch_size: int = 1
    patches: str = "pixels"
    coordinates: int = 0
    dtype: str = "float32"
    remat: str = "none"
    scan_blocks: bool = False
    fast_conv_gradient: bool = True


@dataclass(frozen=True)
class UNetConfig(ModelConfig):
    """What a UNet is built from, one entry a level; raises InputError where settings contradict each other."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        depth = len(self.channels)
        for key in _PER_LEVEL:
            value = getattr(self, key)
            object.__setattr__(self, key, tuple(value) if isinstance(value, list | tuple) else (value,) * depth)
            require(len(getattr(self, key)) == depth, f"model.{key}", value, f"{depth} entries, as channels")
        require(self.dtype in DTYPES, "model.dtype", self.dtype, f"one of {', '.join(DTYPES)}")
        require(self.spatial_dims in (2, 3), "model.spatial_dims", self.spatial_dims, "2 or 3")
        require(self.patch_size >= 1, "model.patch_size", self.patch_size, "1 or more")
        require(self.patches in PATCHES, "model.patches", self.patches, f"one of {', '.join(PATCHES)}")
        halves = self.patches == "pixels" or (self.patch_size > 1 and self.patch_size & (self.patch_size - 1) == 0)
        require(halves, "model.patch_size", self.patch_size, "2, 4, 8 ... for wavelets")
        require(self.remat in ("none", "blocks"), "model.remat", self.remat, "none or blocks")
        require(0.0 <= self.dropout_cattn < 1.0, "model.dropout_cattn", self.dropout_cattn, "0 up to below 1")
        divides = self.norm_num_groups > 0 and all(c % self.norm_num_groups == 0 for c in self.channels)
        require(divides, "model.norm_num_groups", self.norm_num_groups, f"a divisor of every one of {self.channels}")
        # The middle always has attention, with the last level's head channels.
        attends = zip(
            (*self.channels, self.channels[-1]),
            (*self.num_head_channels, self.num_head_channels[-1]),
            (*self.attention_levels, True),
        )
        for channels, head, attention in attends:
            right = not attention or (0 < head <= channels and (self.cross_attention or channels % head == 0))
            require(right, "model.num_head_channels", self.num_head_channels, f"a divisor of {channels} for that level")

    @property
    def cross_attention(self) -> bool:
        """True: transformers that see a context, not plain self-attention."""
        return self.context_dim is not None

    @property
    def time_dim(self) -> int:
        """Width of the time embedding."""
        return 4 * self.channels[0]

    @property
    def size_multiple(self) -> int:
        """Spatial sizes that are multiples of this need no padding."""
        return int(self.patch_size * 2 ** (len(self.channels) - 1))

    @property
    def compute_dtype(self) -> Dtype:
        """The JAX dtype that `dtype` names."""
        return DTYPES[self.dtype]


def unet_config(section: Mapping[str, Any]) -> UNetConfig:
    """The UNetConfig of a `model` section; an unknown key is refused with the nearest ones."""
    known = {f.name for f in fields(UNetConfig)}
    for key in section:
        require(key in known, f"model.{key}", "an unknown key", nearest(key, known))
    return UNetConfig(**dict(section))
