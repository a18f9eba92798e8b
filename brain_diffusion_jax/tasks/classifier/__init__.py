"""Classifiers of a categorical covariate; their kind is "class"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_diffusion_jax.tasks.spec import TaskSpec
from brain_diffusion_jax.training.run_folder.changes import Kept, keys

if TYPE_CHECKING:
    from brain_diffusion_jax.tasks.classifier.config import ClassConfig

SPEC: TaskSpec[ClassConfig] = TaskSpec(
    kind="class",
    summary="the classifier of a categorical covariate",
    package=__name__,
    section="class_model",
    suffix="-class",
    kept=Kept(paths=("seed", "train.power_ema", *keys("class_model", "target backbone width dense"))),
    numbers=("loss", "accuracy"),
    makes_images=False,
    reports=True,
    use="Research: whether images show the requested class, and features for distances between sets.",
    output="Probabilities of the classes from one image",
    example="found = model.probabilities(images)  # [n, rows, cols, 1] in [0, 1]",
)
