"""Conditional diffusion models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_diffusion_jax.tasks.spec import TaskSpec
from brain_diffusion_jax.training.run_folder.changes import Kept, keys

if TYPE_CHECKING:
    from brain_diffusion_jax.tasks.diffusion.config import DiffusionConfig

SPEC: TaskSpec[DiffusionConfig] = TaskSpec(
    kind="diffusion",
    summary="a conditional diffusion model",
    package=__name__,
    section="data",
    kept=Kept(
        paths=(
            *("seed", "model", "conditioning", "diffusion"),
            *keys("optimizer", "name clip_norm"),
            *keys("train", "power_ema loss_weight"),
        ),
        but=("model.remat", "model.fast_conv_gradient"),
        forms={
            "optimizer.clip_norm": bool,  # clipping or none
            "train.loss_weight": lambda value: value == "uncertainty",  # with weights of its own
        },
    ),
    network=("model", "conditioning", "diffusion"),
    steps="train.num_steps",
    makes_images=True,
    use="Research on synthetic brain MRI: studying generative models, testing pipelines, teaching.",
    output="Synthetic images of a brain of the requested covariates",
    example="images = model.sample([{condition}], guidance_scale=3.0)  # [n, rows, cols, 1]",
)
