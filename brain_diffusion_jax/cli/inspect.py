"""Look at a cohort before training on it: a contact sheet, histograms, and a table with quality flags.

  brain-diffusion inspect DATA/oasis1_mni2mm --out looks/oasis
  brain-diffusion inspect configs/oasis/diffusion_cpu.py --out looks/oasis --json

A folder with participants.tsv is read as BIDS, with participants.csv as OASIS-1; for anything else give
cohort.layout=..., cohort.table=... as section.key=value. Flags compare each scan with a brain in MNI space.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a cohort's folder, or a configs/*.py file")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the config")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheet, histograms and tables")
    parser.add_argument("--columns", type=int, default=6, help="scans side by side on the contact sheet")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def read_config(source: str, overrides: Sequence[str]) -> Any:
    """The config of a file, or the defaults with the cohort of a folder; missing ages and sexes are kept."""
    from brain_diffusion_jax.config import apply_overrides, base_config, load_config
    from brain_diffusion_jax.config.defaults import COHORT, reads_of
    from brain_diffusion_jax.errors import InputError

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


def run(arguments: argparse.Namespace) -> int:
    import json

    from tqdm import tqdm

    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.data.checks import inspection_report
    from brain_diffusion_jax.data.sources.cohort import CohortSpec

    config = read_config(arguments.source, arguments.overrides)
    wanted = Schema.from_json([dict(c) for c in config.covariates])
    cohort, schema = inspection_report.scans_to_inspect(CohortSpec(**config.cohort), wanted)
    with tqdm(total=len(cohort.scans), unit="scan", desc="inspect", disable=None) as bar:
        summary = inspection_report.write_inspection(
            arguments.out, cohort, schema, arguments.columns, lambda _: bar.update()
        )
    if arguments.json:
        print(json.dumps(summary.to_json()))
        return 0
    print(f"{summary.scans} scans of {summary.people} people, {len(summary.flagged)} flagged:")
    for name, reasons in summary.flagged.items():
        print(f"  {name}: {reasons}")
    for line in summary.remarks:
        print(f"note: {line}")
    if summary.dropped:
        print(f"{summary.dropped} rows or files left out: {arguments.out / 'dropped.csv'}")
    print(f"open {arguments.out / 'index.html'}")
    return 0
