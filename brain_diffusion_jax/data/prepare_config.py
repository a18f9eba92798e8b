"""What `prepare`, `inspect` and `predict-age` read of a config: everything between a cohort and its shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.shards.settings import Shards
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.cohort import COVARIATES, CohortSpec
from brain_diffusion_jax.data.sources.image_source import PicturesSpec


@dataclass(frozen=True, kw_only=True)
class CohortConfig:
    """covariates: the meaning of every condition, in order. cohort: where people and scans come from."""

    covariates: tuple[Mapping[str, Any], ...] = COVARIATES
    cohort: CohortSpec


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(CohortConfig):
    """prepare: from volumes to slices. pictures: images without geometry instead of scans, where its root is set.

    name: of the default folder for the shards.
    """

    name: str = "run"
    prepare: Preparation = field(default_factory=Preparation)
    pictures: PicturesSpec
    split: SplitSpec = field(default_factory=SplitSpec)
    data: Shards = field(default_factory=Shards)
