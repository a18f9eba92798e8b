"""The settings of the autoencoder: the section `autoencoder` of a config, declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from brain_diffusion_jax.errors import nearest, require
from brain_diffusion_jax.models.layers import Dtype
from brain_diffusion_jax.models.unet_config import DTYPES

LAYOUTS = ("patched", "monai")
_PER_LEVEL = ("num_res_blocks", "attention_levels")


@dataclass(frozen=True)
class AutoencoderConfig:
    """What an autoencoder is built from; raises InputError where settings contradict each other.

    layout: "patched" works on blocks of patch_size^d pixels as channels, and adds to every halving the mean and to
    every doubling the nearest pixel; "monai" is MONAI's AutoencoderKL (Rombach et al. 2022, Pinaya et al. 2022), which
    ignores patch_size. channels, num_res_blocks, attention_levels: one entry a level, finest first (one number stands
    for every level); each level but the last halves the resolution. norm_num_groups: of group norms, whose statistics
    are those of a whole image; 0 (patched only) normalises every position by itself, so that a network that learned
    on crops is right on whole images.
    encoder_attention, decoder_attention: residual block, attention, residual block at the coarsest level (MONAI's
    with_encoder_nonlocal_attn). include_fc: attention ends with a dense layer; use_combined_linear: it has one for
    q, k and v. Parameters are float32; dtype is that of the computation, except norms, softmax, the latent's mean
    and its log variance. remat: "none" | "blocks" recomputes residual and attention blocks in the backward pass.
    fast_conv_gradient: see `convolution.convolve`; False allows forward-mode differentiation (jax.jvp).
    """

    layout: str = "patched"
    channels: tuple[int, ...] = (32, 64, 128)
    num_res_blocks: tuple[int, ...] = (1, 1, 1)
    attention_levels: tuple[bool, ...] = (False, False, False)
    latent_channels: int = 8
    norm_num_groups: int = 0
    norm_eps: float = 1e-6
    encoder_attention: bool = False
    decoder_attention: bool = False
    include_fc: bool = True
    use_combined_linear: bool = False
    patch_size: int = 2
    dtype: str = "float32"
    remat: str = "none"
    fast_conv_gradient: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        depth = len(self.channels)
        require(depth > 0, "autoencoder.channels", self.channels, "one number a level")
        for key in _PER_LEVEL:
            value = getattr(self, key)
            object.__setattr__(self, key, tuple(value) if isinstance(value, list | tuple) else (value,) * depth)
            require(len(getattr(self, key)) == depth, f"autoencoder.{key}", value, f"{depth} entries, as channels")
        require(self.layout in LAYOUTS, "autoencoder.layout", self.layout, f"one of {', '.join(LAYOUTS)}")
        require(self.dtype in DTYPES, "autoencoder.dtype", self.dtype, f"one of {', '.join(DTYPES)}")
        require(self.remat in ("none", "blocks"), "autoencoder.remat", self.remat, "none or blocks")
        require(self.patch_size >= 1, "autoencoder.patch_size", self.patch_size, "1 or more")
        require(self.latent_channels >= 1, "autoencoder.latent_channels", self.latent_channels, "1 or more")
        groups = self.norm_num_groups
        fits = (groups > 0 and all(c % groups == 0 for c in self.channels)) or (groups == 0 and self.shortcuts)
        expected = f"a divisor of every one of {self.channels}" + (", or 0" if self.shortcuts else "")
        require(fits, "autoencoder.norm_num_groups", groups, expected)

    @property
    def patch(self) -> int:
        """Pixels along each axis that the first layer takes together; 1 in MONAI's layout."""
        return 1 if self.layout == "monai" else self.patch_size

    @property
    def shortcuts(self) -> bool:
        """Whether a change of resolution adds what it does to the mean, or to the nearest pixel."""
        return self.layout == "patched"

    @property
    def size_multiple(self) -> int:
        """Pixels of the image along each axis for one of the latent; other sizes are padded to a multiple."""
        return int(self.patch * 2 ** (len(self.channels) - 1))

    @property
    def compute_dtype(self) -> Dtype:
        """The JAX dtype that `dtype` names."""
        return DTYPES[self.dtype]

    @property
    def sees_whole_images(self) -> str:
        """What keeps the finest level of the decoder from being right on a part of an image; "" where nothing does."""
        if self.norm_num_groups:
            return f"norm_num_groups={self.norm_num_groups}"
        return f"attention_levels={self.attention_levels}" if self.attention_levels[0] else ""

    @property
    def fine_radius(self) -> int:
        """How many of the features before the decoder's last doubling, to each side, a pixel depends on.

        The last convolution sees 1 to each side, a residual block 2, the convolution that doubles 1 of the finer ones.
        """
        radius = 1 + 2 * self.num_res_blocks[0]
        return -(-(radius + 1) // 2) if len(self.channels) > 1 else radius

    @property
    def fine_factor(self) -> int:
        """Pixels along each axis of one of those features."""
        return self.patch * (2 if len(self.channels) > 1 else 1)

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(*latent sizes, latent_channels) for the shape (*sizes, channels) of an image; sizes are rounded up."""
        return (*(-(-size // self.size_multiple) for size in shape[:-1]), self.latent_channels)


def autoencoder_config(section: Mapping[str, Any]) -> AutoencoderConfig:
    """The AutoencoderConfig of an `autoencoder` section; an unknown key is refused with the nearest ones."""
    known = {f.name for f in fields(AutoencoderConfig)}
    for key in section:
        require(key in known, f"autoencoder.{key}", "an unknown key", nearest(key, known))
    return AutoencoderConfig(**dict(section))
