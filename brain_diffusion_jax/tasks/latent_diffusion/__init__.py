"""Conditional diffusion models on the latents of a frozen autoencoder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brain_diffusion_jax.tasks.diffusion import SPEC as DIFFUSION
from brain_diffusion_jax.tasks.spec import TaskSpec
from brain_diffusion_jax.training.run_folder.changes import keys

if TYPE_CHECKING:
    from brain_diffusion_jax.tasks.latent_diffusion.config import LatentDiffusionConfig

_CODEC = ("autoencoder", *keys("codec", "mean std weights image_size latent"))
SPEC: TaskSpec[LatentDiffusionConfig] = TaskSpec(
    **{
        **vars(DIFFUSION),
        "kind": "latent_diffusion",
        "summary": "a conditional diffusion model on the latents of an autoencoder",
        "package": __name__,
        "suffix": "-latent",
        "kept": replace(DIFFUSION.kept, paths=(*DIFFUSION.kept.paths, *_CODEC)),
        "network": (*DIFFUSION.network, "autoencoder"),
        "output": "Synthetic images or volumes of a brain of the requested covariates",
        "example": "images = model.sample([{condition}], guidance_scale=2.0)  # [n, *spatial, 1] in [0, 1]",
    }
)
