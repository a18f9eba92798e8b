"""Scans or images, as a config names them, to shards with a data contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.config.defaults import PREPARE, reads_of
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare.head_volumes import NAMES
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.data.sources.cohort import SUPPLIED, CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.head_measuring import HeadMeasuring, with_measured
from brain_diffusion_jax.data.sources.image_source import ImageSource, PicturesSpec, open_images
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices
from brain_diffusion_jax.data.sources.scan_volumes import ScanVolumes
from brain_diffusion_jax.data.sources.table_pictures import TablePictures, open_table, table_spec
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
        measuring=_measuring(source),
    )
    return Shards(folder, contract, list(source.notes) if isinstance(source, ImageSource) else [])


def open_source(config: ConfigDict) -> ScanSlices | ScanVolumes | ImageSource | TablePictures:
    """What a config says to prepare: images where pictures.root is set, else slices or volumes of a cohort's scans."""
    sections = config.to_dict()
    if config.pictures.root:
        pictures, named = PicturesSpec.from_config(sections["pictures"]), Schema.from_json(config.covariates)
        if not pictures.is_table:
            return open_images(pictures, named)
        return open_table(pictures, table_spec(pictures.root, sections["cohort"]), named)
    preparation = Preparation(**sections["prepare"])
    covariates: Sequence[Mapping[str, Any]] = [dict(item) for item in config.covariates]
    measured: tuple[str, ...] = ()
    if preparation.measured.volumes:
        covariates, measured = with_measured(covariates), NAMES
    schema = Schema.from_json(covariates)
    whole = preparation.kind == "volumes"
    if whole:  # a volume is no slice
        schema = Schema(tuple(c for c in schema.covariates if c.name not in SUPPLIED))
    of_table = Schema(tuple(c for c in schema.covariates if c.name not in measured))
    cohort = read_cohort(CohortSpec(**sections["cohort"]), of_table)
    kind = ScanVolumes if whole else ScanSlices
    return kind(cohort, preparation, schema, f"{config.cohort.layout}: {cohort.table}")


def _measuring(source: ScanSlices | ScanVolumes | ImageSource | TablePictures) -> HeadMeasuring | None:
    """What is measured on the source's volumes, where its preparation asks for it."""
    if isinstance(source, ScanVolumes) and source.preparation.measured.volumes:
        return HeadMeasuring(source.preparation.measured)
    return None


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
