"""All that a latent diffusion model reads of a config."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.autoencoder.config import RangedAutoencoder
from brain_diffusion_jax.tasks.diffusion.config import DiffusionConfig

SCALES = ("channel", "single", "none")
LATENTS = ("sample", "mean")


@dataclass(frozen=True)
class CodecSettings:
    """autoencoder: a run folder of that kind. cache: folder of its latents ("": latents/ in that run folder).

    latent: what is learned, a new "sample" of the posterior in every step or its "mean". scale: "channel" gives every
    latent channel mean 0 and deviation 1 over the training set; "single" divides all by one deviation, as published
    weights do; "none" leaves them. memory_gib: what decoding an image may take of memory: whole images where they fit
    into it, else slabs that equal them (`models.slabs`); 0 is whole, without a limit.
    A run adds mean, std of each channel, weights (version of the autoencoder's) and image_size, and keeps them.
    """

    autoencoder: str = ""
    cache: str = ""
    latent: str = "sample"
    scale: str = "channel"
    memory_gib: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    weights: str = ""
    image_size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (("latent", LATENTS), ("scale", SCALES)):
            if getattr(self, name) not in known:
                raise InputError("config", f"codec.{name}", getattr(self, name), f"one of {', '.join(known)}")
        if not (math.isfinite(self.memory_gib) and self.memory_gib >= 0):
            raise InputError("config", "codec.memory_gib", self.memory_gib, "0 (no limit) or more")

    @property
    def identity(self) -> dict[str, object]:
        """What latents depend on, as a cache and a run keep it."""
        return {"weights": self.weights, "mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True)
class LatentDiffusionConfig(DiffusionConfig):
    """A diffusion model on latents. autoencoder: its network, from its own run.

    model.spatial_dims, in_channels and out_channels follow from the codec; x0 is clipped only to a
    diffusion.clip_range, since latents have no bounds.
    """

    codec: CodecSettings = field(default_factory=CodecSettings)
    autoencoder: RangedAutoencoder = field(default_factory=RangedAutoencoder)


CONFIG = LatentDiffusionConfig
