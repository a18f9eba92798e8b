"""What a whole `brain-diffusion train` needs at its smallest: shards, a config file and overrides."""

from __future__ import annotations

from pathlib import Path

import small_cohort

from brain_diffusion_jax.data.prepare import pipeline
from brain_diffusion_jax.data.shards import splits, writer
from brain_diffusion_jax.data.sources import cohort
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices

OVERRIDES = [
    "model.channels=(8,)",
    "model.num_res_blocks=(1,)",
    "model.attention_levels=(False,)",
    "model.num_head_channels=(8,)",
    "model.norm_num_groups=4",
    "model.context_dim=8",
    "conditioning.width=8",
    "sample.num_steps=2",
    "data.batch_size=4",
    "train.validation_samples=4",
    "train.log_every=1",
]


def write_shards(folder: Path) -> Path:
    """Shards of eight ellipsoids, in splits by person."""
    bids = small_cohort.write_bids(folder / "bids", 8)
    people = cohort.read_cohort(cohort.CohortSpec(layout="bids", root=str(bids)))
    spec = splits.SplitSpec(train=0.6, validation=0.2, test=0.2, seed=3)
    preparation = pipeline.Preparation(**small_cohort.PREPARE)
    writer.write_shards(folder / "shards", ScanSlices(people, preparation, small_cohort.SCHEMA), spec)
    return folder / "shards"


def write_config(folder: Path) -> Path:
    """A config file of nothing but the defaults."""
    path = folder / "config.py"
    path.write_text("from brain_diffusion_jax.config import base_config as get_config\n")
    return path
