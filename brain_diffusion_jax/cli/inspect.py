"""Look at a cohort before training on it: a contact sheet, histograms, and a table with quality flags.

  brain-diffusion inspect DATA/oasis1_mni2mm --out looks/oasis
  brain-diffusion inspect configs/oasis/diffusion_cpu.py --out looks/oasis --json

A folder with participants.tsv is read as BIDS, with participants.csv as OASIS-1; for anything else give
cohort.layout=..., cohort.table=... as section.key=value. Flags compare each scan with a brain in MNI space.
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option


class Options(OptionGroup):
    """Which cohort, and where the look at it goes."""

    source: Path = argument("a cohort's folder, or a configs/*.py file")
    overrides: tuple[str, ...] = argument("changes to the config", nargs="*", metavar="section.key=value")
    out: Path = option("folder for the sheet, histograms and tables (default: looks/NAME of the cohort)")
    shards: Path | None = option("shards of prepare --measure volumes, whose measured volumes to show")
    columns: int = option("scans side by side on the contact sheet (default 6)", 6)
    open: bool = option("open the page in a browser", False)
    json: bool = option("print the summary as JSON", False)

    def default_out(self) -> Path:
        """Where the look goes without --out."""
        return Path("looks") / self.source.resolve().stem


def next_step(options: Options) -> str:
    """Shards of what was looked at."""
    words = [str(options.source), *options.overrides]
    if options.source.is_dir():
        words = ["configs/base.py", f"cohort.root={options.source}", *options.overrides]
    return f"brain-diffusion prepare {' '.join(words)}"


def run(options: Options) -> int:
    """Write the page and print which scans are flagged."""
    import json

    from brain_diffusion_jax.api.inspection import inspect
    from brain_diffusion_jax.cli.output import open_page
    from brain_diffusion_jax.cli.progress import bar_of

    with bar_of("scan", desc="inspect") as progress:
        summary = inspect(
            options.source,
            options.overrides,
            options.out,
            shards=options.shards,
            columns=options.columns,
            progress=progress,
        )
    if options.open:
        open_page(options.out / "index.html")
    if options.json:
        print(json.dumps(summary.to_json()))
        return 0
    print(f"{summary.scans} scans of {summary.people} people, {len(summary.flagged)} flagged:")
    for name, reasons in summary.flagged.items():
        print(f"  {name}: {reasons}")
    for line in summary.remarks:
        print(f"note: {line}")
    if summary.dropped:
        print(f"{summary.dropped} rows or files left out: {options.out / 'dropped.csv'}")
    print(f"open {options.out / 'index.html'}")
    return 0
