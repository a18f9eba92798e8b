"""The settings of the networks that read images: the part of `age_model` and `class_model` that describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TrunkConfig:
    """backbone: see deep_brain_net.BACKBONES. width: factor of its channels. dense: widths of the hidden layers
    between pooling and output. dropout: before each of them and the output.
    """

    backbone: str = "small_cnn"
    width: float = 1.0
    dense: int | tuple[int, ...] = ()
    dropout: float = 0.3


@dataclass(frozen=True)
class AgeNetworkConfig(TrunkConfig):
    """pooling: avg | max. norm_eps: of batch norms. backbone_options: further arguments of the backbone.

    target_mean, target_scale: years = target_mean + target_scale * output; training sets them from its people.
    bins: ages from bin_low to bin_high over which the network gives a distribution (0: it gives the age itself).
    dtype: of the computation. frozen: prefixes of layer names whose weights do not move.
    """

    pooling: str = "avg"
    norm_eps: float = 1e-3
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    target_mean: float = 0.0
    target_scale: float = 1.0
    bins: int = 0
    bin_low: float = 10.0
    bin_high: float = 105.0
    dtype: str = "float32"
    frozen: tuple[str, ...] = ()
