"""Regressors of age."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_diffusion_jax.tasks.spec import TaskSpec
from brain_diffusion_jax.training.run_folder.changes import Kept, keys

if TYPE_CHECKING:
    from brain_diffusion_jax.tasks.age.config import AgeConfig

SPEC: TaskSpec[AgeConfig] = TaskSpec(
    kind="age",
    summary="the regressor of age",
    package=__name__,
    section="age_model",
    suffix="-age",
    kept=Kept(
        paths=(
            *("seed", "train.power_ema"),
            *keys("age_model", "backbone width dense pooling norm_eps backbone_options target_mean target_scale"),
            *keys("age_model", "bins bin_low bin_high dtype target pretrained frozen loss optimizer clip_norm"),
        ),
        forms={"age_model.clip_norm": bool},
    ),
    numbers=("loss", "mae"),
    makes_images=False,
    reports=True,
    use="Research: reading the age that images show, and features for distances between sets of images.",
    output="Age in years from one image",
    example="ages = model.predict(images)  # [n, rows, cols, 1] in [0, 1]",
)
