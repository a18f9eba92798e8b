"""GANs, the baseline that other generators are compared with: WGAN-GP, LSGAN, VAE-GAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_diffusion_jax.tasks.spec import TaskSpec
from brain_diffusion_jax.training.run_folder.changes import Kept, keys

if TYPE_CHECKING:
    from brain_diffusion_jax.tasks.gan.config import GanConfig

SPEC: TaskSpec[GanConfig] = TaskSpec(
    kind="gan",
    summary="a GAN, the baseline: WGAN-GP, LSGAN or VAE-GAN",
    package=__name__,
    section="gan",
    suffix="-gan",
    kept=Kept(
        paths=("seed", "train.power_ema", *keys("gan", "objective channels critic_channels latent width conditional"))
    ),
    numbers=("wasserstein", "penalty", "critic", "kl", "features"),
    ranks=False,
    makes_images=True,
    use="Research on synthetic brain MRI: a GAN, to compare other generators with.",
    output="Synthetic images of the requested covariates",
    example="images = model.sample([{condition}])  # [n, *spatial, channels]",
)
