"""What `inspect` leaves of a cohort: tables, contact sheet, histograms, and a page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.data.checks import inspection
from brain_diffusion_jax.data.picture_grid import save_png
from brain_diffusion_jax.data.sources.cohort import SUPPLIED, Cohort, CohortSpec, read_cohort
from brain_diffusion_jax.data.table import read_table, write_table
from brain_diffusion_jax.errors import InputError


@dataclass(frozen=True)
class Summary:
    """flagged: scan -> reasons; dropped: rows or files left out; remarks: about the cohort as a whole."""

    scans: int
    people: int
    flagged: dict[str, str]
    dropped: int
    remarks: list[str]
    out: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def scans_to_inspect(spec: CohortSpec, schema: Schema) -> tuple[Cohort, Schema]:
    """The cohort and the covariates of its table, which has none of SUPPLIED."""
    of_table = Schema(tuple(c for c in schema.covariates if c.name not in SUPPLIED))
    return read_cohort(spec, of_table), of_table


def with_measured(cohort: Cohort, schema: Schema, shards: Path) -> tuple[Cohort, Schema]:
    """The cohort and schema with what `prepare --measure` measured on its scans, from the shards that it wrote."""
    contract = Contract.load(shards)
    names = [name for name in contract.measured.get("covariates", ()) if name in contract.schema.names]
    if not names:
        raise InputError(shards, "measured", "nothing", "shards of `brain-diffusion prepare --measure volumes`")
    known = {row.get("scan"): row for row in read_table(shards / "scans.csv", "scans of the shards")[1]}
    scans = []
    for scan in cohort.scans:
        cells = {name: known[scan.scan].get(name) for name in names} if scan.scan in known else {}
        scans.append(scan._replace(covariates=scan.covariates | {n: float(cell) for n, cell in cells.items() if cell}))
    others = tuple(c for c in schema.covariates if c.name not in names)
    return cohort._replace(scans=tuple(scans)), Schema((*others, *(contract.schema[name] for name in names)))


def write_inspection(
    out: Path, cohort: Cohort, schema: Schema, columns: int = 6, progress: Callable[[int], None] | None = None
) -> Summary:
    """Look at every scan and write scans.csv, dropped.csv, contact_sheet.png, histograms.png and index.html."""
    out.mkdir(parents=True, exist_ok=True)
    inspected, remarks = inspection.inspect_cohort(cohort, progress)
    header, rows = inspection.table(inspected, schema.names)
    write_table(out / "scans.csv", header, rows)
    if cohort.dropped:
        write_table(out / "dropped.csv", ("row_or_file", "reason"), cohort.dropped)
    save_png(out / "contact_sheet.png", inspection.contact_sheet(inspected, columns))
    write_histograms(out / "histograms.png", schema, cohort)
    flagged = {item.scan.scan: item.reasons for item in inspected if item.flagged}
    summary = Summary(len(inspected), len(cohort.people), flagged, len(cohort.dropped), remarks, str(out))
    write_page(out / "index.html", summary, header, rows)
    return summary


def write_histograms(path: Path, schema: Schema, cohort: Cohort) -> None:
    """One panel for each covariate: histogram of numbers, bars of categories; absent values in the title."""
    from matplotlib.figure import Figure

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


_STYLE = (
    "body{font:14px sans-serif;margin:2em;max-width:110em}table{border-collapse:collapse;font-size:12px}"
    "td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left}tr.flag{background:#fdd}"
    "th{position:sticky;top:0;background:#fff}img{max-width:100%}"
)


def write_page(path: Path, summary: Summary, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A page with the summary, both images and the table, flagged scans first; opens without a network."""
    column = list(header).index("flagged")
    ordered = sorted(rows, key=lambda row: row[column] != "1")
    lines = [
        f"<tr{' class=flag' if row[column] == '1' else ''}>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>"
        for row in ordered
    ]
    page = [
        f"<!doctype html><meta charset=utf-8><title>Cohort</title><style>{_STYLE}</style>",
        f"<h1>{summary.scans} scans of {summary.people} people, {len(summary.flagged)} flagged</h1>",
        *(f"<p>{escape(line)}</p>" for line in summary.remarks),
        '<p><img src="histograms.png" alt="histograms"></p>',
        '<p><a href="contact_sheet.png"><img src="contact_sheet.png" alt="every scan"></a></p>',
        "<table><tr>" + "".join(f"<th>{escape(h)}</th>" for h in header) + "</tr>",
        *lines,
        "</table>",
    ]
    files.write_text(path, "\n".join(page))
