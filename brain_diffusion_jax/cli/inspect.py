"""Look at a cohort before training on it: a contact sheet, histograms, and a table with quality flags.

  brain-diffusion inspect DATA/oasis1_mni2mm --out looks/oasis
  brain-diffusion inspect configs/oasis_axial_cpu.py --out looks/oasis --json

A folder with participants.tsv is read as BIDS, with participants.csv as OASIS-1; for anything else give
cohort.layout=..., cohort.table=... as section.key=value. Flags compare each scan with a brain in MNI space.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a cohort's folder, or a configs/*.py file")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the config")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheet, histograms and tables")
    parser.add_argument("--columns", type=int, default=6, help="scans side by side on the contact sheet")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def read_config(source: str, overrides: Sequence[str]) -> Any:
    """The config of a file, or the defaults with the cohort of a folder; missing ages and sexes are kept."""
    from brain_diffusion_jax.config import apply_overrides, base_config, load_config
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.kinds import READS

    path = Path(source)
    if not path.exists():
        raise InputError(path, "source", "no such file or folder", "a cohort's folder or a config file")
    if path.is_file() or (path / "config.json").exists():
        return load_config(path, overrides, reads=READS["inspect"])
    config = base_config()
    config.cohort.root = str(path)
    if (path / "participants.csv").exists() and not (path / "participants.tsv").exists():
        config.cohort.layout = "oasis1"
    config.cohort.bad_ages = "absent"
    if "bad_rows" in config.cohort:
        config.cohort.bad_rows = "absent"
    return apply_overrides(config, overrides, reads=READS["inspect"])


def run(arguments: argparse.Namespace) -> int:
    import json

    from tqdm import tqdm

    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.data.checks import inspection
    from brain_diffusion_jax.data.picture_grid import save_png
    from brain_diffusion_jax.data.sources.cohort import SUPPLIED, CohortSpec, read_cohort
    from brain_diffusion_jax.data.table import write_table

    config = read_config(arguments.source, arguments.overrides)
    whole = Schema.from_json([dict(c) for c in config.covariates])
    schema = Schema(tuple(c for c in whole.covariates if c.name not in SUPPLIED))
    cohort = read_cohort(CohortSpec(**config.cohort), schema)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(cohort.scans), unit="scan", desc="inspect", disable=None) as bar:
        inspected, remarks = inspection.inspect_cohort(cohort, lambda _: bar.update())

    header, rows = inspection.table(inspected, schema.names)
    write_table(out / "scans.csv", header, rows)
    if cohort.dropped:
        write_table(out / "dropped.csv", ("row_or_file", "reason"), cohort.dropped)
    save_png(out / "contact_sheet.png", inspection.contact_sheet(inspected, arguments.columns))
    write_histograms(out / "histograms.png", schema, cohort)
    summary: dict[str, Any] = {
        "scans": len(inspected),
        "people": len(cohort.people),
        "flagged": {item.scan.scan: item.reasons for item in inspected if item.flagged},
        "dropped": len(cohort.dropped),
        "remarks": remarks,
        "out": str(out),
    }
    write_page(out / "index.html", summary, header, rows)
    if arguments.json:
        print(json.dumps(summary))
        return 0
    print(f"{summary['scans']} scans of {summary['people']} people, {len(summary['flagged'])} flagged:")
    for name, reasons in summary["flagged"].items():
        print(f"  {name}: {reasons}")
    for line in remarks:
        print(f"note: {line}")
    if cohort.dropped:
        print(f"{len(cohort.dropped)} rows or files left out: {out / 'dropped.csv'}")
    print(f"open {out / 'index.html'}")
    return 0


def write_histograms(path: Path, schema: Any, cohort: Any) -> Path:
    """One panel for each covariate: histogram of numbers, bars of categories; absent values in the title."""
    from matplotlib.figure import Figure

    from brain_diffusion_jax.covariates import Continuous

    names = schema.names or ("scans",)
    figure = Figure(figsize=(4.2 * len(names), 3.2), layout="constrained")
    for axes, covariate in zip(figure.subplots(1, len(names), squeeze=False)[0], schema.covariates, strict=False):
        values = [s.covariates[covariate.name] for s in cohort.scans if covariate.name in s.covariates]
        if isinstance(covariate, Continuous):
            axes.hist(values, bins=20, color="#4477aa", edgecolor="white")
            axes.set_xlabel(f"{covariate.name} ({covariate.unit})")
        else:
            counts = [values.count(v) for v in covariate.values]
            axes.bar_label(axes.bar(covariate.values, counts, color="#4477aa"))
            axes.set_xlabel(covariate.name)
        axes.set_ylabel("scans")
        absent = len(cohort.scans) - len(values)
        axes.set_title(f"{len(values)} scans" + (f", {absent} without" if absent else ""), fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    with files.replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
    return path


_STYLE = (
    "body{font:14px sans-serif;margin:2em;max-width:110em}table{border-collapse:collapse;font-size:12px}"
    "td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left}tr.flag{background:#fdd}"
    "th{position:sticky;top:0;background:#fff}img{max-width:100%}"
)


def write_page(path: Path, summary: dict[str, Any], header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    """A page with the summary, both pictures and the table, flagged scans first; opens without a network."""
    from html import escape

    column = list(header).index("flagged")
    ordered = sorted(rows, key=lambda row: row[column] != "1")
    lines = [
        f"<tr{' class=flag' if row[column] == '1' else ''}>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>"
        for row in ordered
    ]
    page = [
        f"<!doctype html><meta charset=utf-8><title>Cohort</title><style>{_STYLE}</style>",
        f"<h1>{summary['scans']} scans of {summary['people']} people, {len(summary['flagged'])} flagged</h1>",
        *(f"<p>{escape(line)}</p>" for line in summary["remarks"]),
        '<p><img src="histograms.png" alt="histograms"></p>',
        '<p><a href="contact_sheet.png"><img src="contact_sheet.png" alt="every scan"></a></p>',
        "<table><tr>" + "".join(f"<th>{escape(h)}</th>" for h in header) + "</tr>",
        *lines,
        "</table>",
    ]
    files.write_text(path, "\n".join(page))
    return path
