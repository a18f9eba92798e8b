"""Ages of people from their T1 scans, after checking that the scans can be judged.

  brain-diffusion predict-age runs/age sub-01_T1w.nii.gz sub-02_T1w.nii.gz --out ages/
  brain-diffusion predict-age runs/deepbrainnet --cohort configs/oasis/diffusion.py cohort.root=FOLDER --out ages/

Scans must be skull-stripped and registered to MNI space; any orientation and intensity unit is read.
A run trained here prepares scans by its own contract; converted DeepBrainNet files use the published
preparation (1 mm MNI grid, 185 / 97th percentile, slices z = 45..124, 8 bit, 256x256). A scan with the
skull on, unregistered, lying otherwise than its header says, blurred, with planes missing, in another unit than
the model's, or otherwise unlike the scans that the run was trained on (about 2 % of good scans too) is
refused with the reason in ages.csv; the other people's ages are written, and the exit status is 2.
Writes ages.csv (the median over slices and its spread, with the scan's path), slices.csv and ages.png.
An age outside 0 to 120 years is no answer: its row says so in place of the number.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="run folder of train-age or convert keras")
    parser.add_argument("scans", nargs="*", metavar="SCAN", help=".nii or .nii.gz files, or section.key=value")
    parser.add_argument("--cohort", metavar="CONFIG", help="people of the config's cohort instead of files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write (new)")
    parser.add_argument("--preparation", choices=("auto", "contract", "published"), default="auto")
    parser.add_argument("--jpeg", action="store_true", help="published preparation with its JPEG loss")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CHECK",
        help="go on in spite of: position, orientation, skull, registration, detail, intensity or inputs (unlike "
        "what the run was trained on); a warning stays",
    )
    parser.add_argument("--batch", type=int, default=40, help="slices at once on the device (default 40)")
    parser.add_argument("--json", action="store_true", help="print the ages as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax import api, files
    from brain_diffusion_jax.api import scan_ages
    from brain_diffusion_jax.data.checks.scan_checks import KINDS
    from brain_diffusion_jax.errors import InputError, nearest
    from brain_diffusion_jax.evaluation.report import age_tables

    for kind in arguments.allow:
        if kind not in KINDS:
            raise InputError("command line", "--allow", kind, nearest(kind, KINDS))
    files.require_new_folder(arguments.out, "--out")
    model = api.load(arguments.model, "age")
    rows = scan_ages.predict(
        model,
        find_people(arguments.scans, arguments.cohort),
        preparation=arguments.preparation,
        jpeg=arguments.jpeg,
        allowed=tuple(arguments.allow),
        batch_size=arguments.batch,
    )
    with files.replacing_folder(arguments.out) as part:
        age_tables.write(part, rows, scan_ages.bias_correction(arguments.model))
    if arguments.json:
        print(json.dumps([{k: v for k, v in row.items() if k not in ("slices", "ages")} for row in rows]))
    else:
        print(age_tables.text(rows))
        print(f"{arguments.out}: ages.csv, slices.csv, ages.png")
    return 2 if any(row["refused"] for row in rows) else 0


def find_people(scans: list[str], cohort_config: str | None) -> list[Any]:
    """The scans named on the command line, or, with a config file, those of its cohort (`scans` are overrides then)."""
    from brain_diffusion_jax.api.scan_ages import Person, distinct_names
    from brain_diffusion_jax.config import load_config
    from brain_diffusion_jax.config.defaults import COHORT, reads_of
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
    from brain_diffusion_jax.errors import InputError

    if not cohort_config:
        if not scans:
            raise InputError("command line", "SCAN", "nothing", "scans, or --cohort CONFIG")
        paths = [Path(scan) for scan in scans]
        return [Person(name, path) for name, path in zip(distinct_names(paths), paths, strict=True)]
    config = load_config(cohort_config, scans, reads=reads_of(COHORT))
    cohort = read_cohort(CohortSpec(**config.cohort.to_dict()), Schema.from_json(config.covariates))
    return [Person(s.scan, s.path, s.covariates.get("age")) for s in cohort.scans]  # type: ignore[arg-type]
