"""Scans or images, as a config names them, to shards with a data contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.config.defaults import PREPARE, reads_of
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.image_source import ImageSource, PicturesSpec, open_images
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices
from brain_diffusion_jax.errors import InputError

FEW_SCANS = 50  # below which starting processes takes longer than it saves


class Shards(NamedTuple):
    """Finished shards. notes: what the user should know of the images."""

    folder: Path
    contract: Contract
    notes: list[str]


def prepare(
    config: str | Path | ConfigDict,
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    workers: int = 0,
    beam: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Read a cohort, or images where config.pictures.root is set, and write shards; a stopped call is gone on with.

    config: a file, or a whole config that is not changed. overrides: section.key=value. out: default data.shards of
    the config, or shards/NAME. workers: processes; 0 is one a core for 50 scans and more. beam: options of Apache
    Beam, which prepares then. progress: (done, total).
    """
    if workers < 0:
        raise InputError("command line", "--workers", workers, "0 or more")
    if isinstance(config, ConfigDict):
        config = configs.apply_overrides(config.copy_and_resolve_references(), overrides, reads=reads_of(PREPARE))
    else:
        config = configs.load_config(config, overrides, reads=reads_of(PREPARE))
    folder = Path(out or config.data.shards or Path("shards") / config.name)
    source = open_source(config)
    images = isinstance(source, ImageSource)  # they lie in memory, so that workers would gain nothing
    few = images or len(source.entries()) < FEW_SCANS
    contract = write_shards(
        folder,
        source,
        SplitSpec(**config.split.to_dict()),
        workers=1 if images else workers or (1 if few else os.cpu_count() or 1),
        progress=progress,
        engine="local" if beam is None else "beam",
        beam_options=None if beam is None else list(beam),
    )
    return Shards(folder, contract, list(source.notes) if isinstance(source, ImageSource) else [])


def open_source(config: ConfigDict) -> ScanSlices | ImageSource:
    """What a config says to prepare: images where pictures.root is set, else slices of the cohort's scans."""
    sections, schema = config.to_dict(), Schema.from_json(config.covariates)
    if config.pictures.root:
        return open_images(PicturesSpec.from_config(sections["pictures"]), schema)
    preparation = Preparation(**sections["prepare"])
    cohort = read_cohort(CohortSpec(**sections["cohort"]), schema)
    return ScanSlices(cohort, preparation, schema, f"{config.cohort.layout}: {cohort.table}")


def describe(shards: Shards) -> str:
    """What was written and what was left out, as a table."""
    lines = [f"{'split':<12}{'people':>8}{'scans':>8}{'images':>10}"]
    contract = shards.contract.to_json()
    counts = contract["counts"]
    for name in ("train", "validation", "test"):
        if name in counts:
            row = counts[name]
            lines.append(f"{name:<12}{row['people']:>8}{row['scans']:>8}{row['pictures']:>10}")
    if counts["dropped"]:
        lines += ["", f"{'left out':>8}  reason (each row in dropped.csv)"]
        lines += [f"{count:>8}  {reason}" for reason, count in counts["dropped"].items()]
    size = "x".join(map(str, contract["image_size"]))
    lines += ["", f"{shards.folder}: {size} {contract['stored_dtype']}, {contract['fingerprint'][:19]}..."]
    return "\n".join(lines)
