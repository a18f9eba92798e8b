"""The WGAN-GP baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_diffusion_jax.tasks.spec import TaskSpec
from brain_diffusion_jax.training.run_folder.changes import Kept, keys

if TYPE_CHECKING:
    from brain_diffusion_jax.tasks.gan.config import GanConfig

SPEC: TaskSpec[GanConfig] = TaskSpec(
    kind="gan",
    summary="the WGAN-GP baseline",
    package=__name__,
    section="gan",
    suffix="-gan",
    kept=Kept(paths=("seed", "train.power_ema", *keys("gan", "channels latent conditional"))),
    numbers=("wasserstein", "penalty"),
    ranks=False,
    makes_images=True,
    use="Research on synthetic brain MRI: the WGAN-GP baseline that other generators are compared with.",
    output="Synthetic images of the requested covariates",
    example="images = model.sample([{condition}])  # [n, rows, cols, 1]",
)
