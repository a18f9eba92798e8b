"""What a study is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brain_diffusion_jax.seeds import check_seed


@dataclass(frozen=True)
class StudyConfig:
    """The section `study` of a config.

    num_samples: pictures per scale, 0 = as many as the evaluated people have; never more than that,
    so that every distance compares sets of equal size. evaluated: the split whose real conditions are
    requested. ssim_pictures: 0 = all pairs. dark_fraction: {rows, cols, threshold, slice}, or None for a rule.
    reference: published numbers beside ours.
    """

    guidance_scales: tuple[float, ...] = (1.0, 3.0, 5.0, 7.0)
    num_samples: int = 0
    bootstrap: int = 200
    seed: int = 0
    evaluated: str = "test"
    ssim_pictures: int = 0
    neighbours: int = 5
    dark_fraction: Mapping[str, Any] | None = None
    reference: bool = False

    def __post_init__(self) -> None:
        check_seed(self.seed, "study")


@dataclass(frozen=True)
class StudySettings(StudyConfig):
    """What a study is asked to do. covariates: which names mean age, sex and slice position."""

    batch_size: int = 64
    age: str = "age"
    sex: str = "sex"
    slice: str = "slice"
    title: str = "Study"
    model: str = ""
