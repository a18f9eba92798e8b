"""A look at a cohort before training on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from brain_diffusion_jax.config import apply_overrides, base_config, load_config
from brain_diffusion_jax.config.defaults import COHORT, reads_of
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.checks import inspection_report
from brain_diffusion_jax.data.sources.cohort import CohortSpec
from brain_diffusion_jax.errors import InputError


def inspect(
    source: str | Path,
    overrides: Sequence[str] = (),
    out: str | Path = "inspection",
    *,
    shards: str | Path | None = None,
    columns: int = 6,
    progress: Callable[[int, int], None] | None = None,
) -> inspection_report.Summary:
    """Write contact sheet, histograms and tables of a cohort into `out`, and say which scans are flagged.

    source: a folder with a table, or a config file. shards: of `prepare --measure`, whose measured covariates are shown
    beside those of the table. columns: of the sheet. progress: (done, total).
    """
    config = open_cohort(source, overrides)
    wanted = Schema.from_json([dict(c) for c in config.covariates])
    cohort, schema = inspection_report.scans_to_inspect(CohortSpec(**config.cohort), wanted)
    if shards:
        cohort, schema = inspection_report.with_measured(cohort, schema, Path(shards))
    count = len(cohort.scans)
    tell = None if progress is None else (lambda done: progress(done, count))
    return inspection_report.write_inspection(Path(out), cohort, schema, columns, tell)


def open_cohort(source: str | Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of a file, or the defaults with the cohort of a folder; missing ages and sexes are kept."""
    path = Path(source)
    if not path.exists():
        raise InputError(path, "source", "no such file or folder", "a cohort's folder or a config file")
    if path.is_file() or (path / "config.json").exists():
        return load_config(path, overrides, reads=reads_of(COHORT))
    config = base_config()
    config.cohort.root = str(path)
    if (path / "participants.csv").exists() and not (path / "participants.tsv").exists():
        config.cohort.layout = "oasis1"
    config.cohort.bad_ages = "absent"
    if "bad_rows" in config.cohort:
        config.cohort.bad_rows = "absent"
    return apply_overrides(config, overrides, reads=reads_of(COHORT))
