"""Autoencoders of images and volumes, whose latents a diffusion model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_diffusion_jax.tasks.spec import TaskSpec
from brain_diffusion_jax.training.run_folder.changes import Kept, keys

if TYPE_CHECKING:
    from brain_diffusion_jax.tasks.autoencoder.config import AutoencoderRunConfig

SPEC: TaskSpec[AutoencoderRunConfig] = TaskSpec(
    kind="autoencoder",
    summary="an autoencoder, for latent diffusion",
    package=__name__,
    section="data",
    suffix="-autoencoder",
    kept=Kept(
        paths=(
            *("seed", "autoencoder", "discriminator", "crops"),
            *keys("loss", "adversarial adversarial_from perceptual_version"),
            *keys("optimizer", "name clip_norm"),
            "train.power_ema",
        ),
        but=("autoencoder.remat", "autoencoder.fast_conv_gradient"),
        forms={"optimizer.clip_norm": bool, "loss.adversarial": bool},
    ),
    network=("autoencoder",),
    steps="train.num_steps",
    makes_images=False,
    reports=True,
    ranks=False,  # by the mean difference, which sharp images do not lower
    numbers=("loss", "psnr", "l1", "kl"),
    use="Research on synthetic brain MRI: the frozen half of a latent diffusion model.",
    output="Latents of images, and images of latents",
    example="latents = model.encode(images)  # [n, *spatial, channels] in [0, 1]; model.decode(latents)",
)
