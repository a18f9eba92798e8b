"""The age regressor: backbone, global pooling, dense layers, age in years.

The published DeepBrainNet (Bashyam et al. 2020) is an ImageNet backbone,
global pooling, Dense(1024, relu), Dropout(0.8), Dense(1).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from brain_diffusion_jax.errors import InputError, require_one_of
from brain_diffusion_jax.models.age_config import AgeNetworkConfig
from brain_diffusion_jax.models.backbones.densenet169 import DenseNet169
from brain_diffusion_jax.models.backbones.inception_resnet_v2 import InceptionResNetV2
from brain_diffusion_jax.models.backbones.resnet50 import ResNet50
from brain_diffusion_jax.models.backbones.sfcn import Sfcn
from brain_diffusion_jax.models.backbones.trunk import Trunk
from brain_diffusion_jax.models.backbones.vgg16 import VGG16
from brain_diffusion_jax.models.residual_cnn import ResidualCnn
from brain_diffusion_jax.models.small_cnn import SmallCnn, SmallVolumeCnn

BACKBONES: dict[str, type[Trunk]] = {
    "small_cnn": SmallCnn,
    "small_volume_cnn": SmallVolumeCnn,
    "residual_cnn": ResidualCnn,
    "vgg16": VGG16,
    "resnet50": ResNet50,
    "densenet169": DenseNet169,
    "inception_resnet_v2": InceptionResNetV2,
    "sfcn": Sfcn,
}


class AgeNetwork(nn.Module):
    """[b, *spatial, 1 or 3] in [0, 1] -> age in years [b]; features=True -> pooled features [b, d].

    years = target_mean + target_scale * output, or, with `bins`, the mean of a distribution over `bins`
    ages from bin_low to bin_high. dense: widths of the hidden layers between pooling and output.
    Weights are float32 whatever `dtype` computes; the age is always float32.
    """

    trunk: Trunk
    dense: tuple[int, ...] = (1024,)
    dropout: float = 0.8
    pooling: str = "avg"
    target_mean: float = 0.0
    target_scale: float = 1.0
    bins: int = 0
    bin_low: float = 18.0
    bin_high: float = 96.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.hidden = [nn.Dense(width, dtype=self.dtype, name=f"dense{i}") for i, width in enumerate(self.dense)]
        self.drop = nn.Dropout(self.dropout)
        self.output = nn.Dense(max(self.bins, 1), dtype=self.dtype, name="output")

    def pooled(self, images: Float[Array, "b *spatial c"], train: bool = False) -> Float[Array, "b d"]:
        """Features after global pooling."""
        maps = self.trunk(_fit_channels(images, self.trunk).astype(self.dtype), train)
        axes = tuple(range(1, maps.ndim - 1))
        return jnp.mean(maps, axes) if self.pooling == "avg" else jnp.max(maps, axes)

    def raw(self, images: Float[Array, "b *spatial c"], train: bool = False) -> Float[Array, "b k"]:
        """Output of the last layer in float32: [b, 1], or the logits of the age bins."""
        x = self.pooled(images, train)
        for layer in self.hidden:
            x = self.drop(nn.relu(layer(x)), deterministic=not train)
        if not self.dense:
            x = self.drop(x, deterministic=not train)
        return self.output(x).astype(jnp.float32)

    def bin_centres(self) -> Float[Array, " k"]:
        """Ages in years of the bins, evenly from bin_low to bin_high."""
        return jnp.linspace(self.bin_low, self.bin_high, self.bins)

    def years(self, raw: Float[Array, "b k"]) -> Float[Array, " b"]:
        """Ages in years from `raw`: the mean of the bins' distribution, or target_mean + target_scale * output."""
        if self.bins:
            return jax.nn.softmax(raw) @ self.bin_centres()
        return self.target_mean + self.target_scale * raw[:, 0]

    def __call__(
        self, images: Float[Array, "b *spatial c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, " b"] | Float[Array, "b d"]:
        if features:
            return self.pooled(images, train).astype(jnp.float32)
        return self.years(self.raw(images, train))


def _fit_channels(images: Float[Array, "b *spatial c"], trunk: Trunk) -> Float[Array, "b *spatial d"]:
    """Grey repeated for a colour network, colour averaged for a grey one; images of other axes are refused."""
    channels, wanted, dims = images.shape[-1], trunk.in_channels, images.ndim - 2
    if dims in (2, 3) and dims != trunk.spatial_dims:
        name = next((name for name, known in BACKBONES.items() if type(trunk) is known), type(trunk).__name__)
        fitting = [name for name, known in BACKBONES.items() if known.spatial_dims == dims]
        found = f"{name}, a network of {trunk.spatial_dims} axes, for images of {dims}"
        raise InputError("age_model", "backbone", found, " or ".join(fitting))
    if dims != trunk.spatial_dims or channels not in (1, 3):
        axes = "rows, cols" if trunk.spatial_dims == 2 else "x, y, z"
        raise InputError("age network", "images", tuple(images.shape), f"[batch, {axes}, 1 or 3]")
    if channels == wanted:
        return images
    return jnp.repeat(images, 3, axis=-1) if wanted == 3 else jnp.mean(images, axis=-1, keepdims=True)


def make_age_network(*, axis_name: str | None = None, **settings: Any) -> AgeNetwork:
    """The network of the settings of AgeNetworkConfig. axis_name: of pmap, for batch statistics."""
    c = AgeNetworkConfig(**settings)
    require_one_of(c.backbone, BACKBONES, "age_model", "backbone")
    require_one_of(c.pooling, ("avg", "max"), "age_model", "pooling")
    widths = (c.dense,) if isinstance(c.dense, int) else tuple(c.dense)
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in dict(c.backbone_options).items()}
    number = jnp.dtype(c.dtype)
    trunk = BACKBONES[c.backbone](
        width=c.width,
        norm_eps=c.norm_eps,
        dtype=number,
        axis_name=axis_name,
        frozen=tuple(c.frozen),
        name=None,
        **options,
    )
    return AgeNetwork(
        trunk=trunk,
        dense=tuple(w for w in widths if w),
        dropout=c.dropout,
        pooling=c.pooling,
        target_mean=c.target_mean,
        target_scale=c.target_scale,
        bins=c.bins,
        bin_low=c.bin_low,
        bin_high=c.bin_high,
        dtype=number,
    )
