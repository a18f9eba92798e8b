"""What a study is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.study.published import PROTOCOLS
from brain_diffusion_jax.seeds import check_seed


@dataclass(frozen=True)
class StudyConfig:
    """The section `study` of a config.

    num_samples: images per scale, 0 = as many as the evaluated people have; never more than that,
    so that every distance compares sets of equal size. evaluated: the split whose real conditions are
    requested. ssim_pictures: slices whose pairs are compared, 0 = all. pairs: random pairs of volumes that are
    compared. dark_fraction: {rows, cols, threshold, slice}, or None for a rule. reference: published numbers
    beside ours. protocol: "pinaya2022" puts the published table of that paper beside this one's volumes, ""
    none. extrapolate: numbers of the schema that are asked for from -0.3 to 1.3 of their range, at every scale, with
    the other conditions and the noise of extrapolate_images people. target, position: covariates that predictors
    read and that say where a slice lies; "" leaves them to the schema's units (`roles.Roles`).
    """

    guidance_scales: tuple[float, ...] = (1.0, 3.0, 5.0, 7.0)
    num_samples: int = 0
    bootstrap: int = 200
    seed: int = 0
    evaluated: str = "test"
    ssim_pictures: int = 0
    pairs: int = 1000
    neighbours: int = 5
    dark_fraction: Mapping[str, Any] | None = None
    reference: bool = False
    protocol: str = ""
    extrapolate: tuple[str, ...] = ()
    extrapolate_images: int = 8
    target: str = ""
    position: str = ""

    def __post_init__(self) -> None:
        check_seed(self.seed, "study")
        if self.extrapolate_images < 1:
            raise InputError("config", "study.extrapolate_images", self.extrapolate_images, "at least 1")
        if self.protocol and self.protocol not in PROTOCOLS:
            raise InputError("config", "study.protocol", self.protocol, f"one of {', '.join(PROTOCOLS)}, or nothing")


@dataclass(frozen=True)
class StudySettings(StudyConfig):
    """What a study is asked to do. model: what made the images, for the folder's plan."""

    batch_size: int = 64
    title: str = "Study"
    model: str = ""
