"""Ages of people from their T1 scans, after checks of the scans.

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

from pathlib import Path

from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option
from brain_diffusion_jax.errors import InputError, nearest


class Options(OptionGroup):
    """Which model reads which scans, and how they are prepared."""

    model: Path = argument("run folder of train-age or convert keras")
    scans: tuple[str, ...] = argument(".nii or .nii.gz files, or section.key=value", nargs="*", metavar="SCAN")
    cohort: Path | None = option("people of the config's cohort instead of files", metavar="CONFIG")
    out: Path = option("folder to write (new; default: ages in the run folder)")
    preparation: str = option("default auto", "auto", choices=("auto", "contract", "published"))
    jpeg: bool = option("published preparation with its JPEG loss", False)
    allow: tuple[str, ...] = option(
        "go on in spite of: position, orientation, skull, registration, detail, intensity or inputs (unlike "
        "what the run was trained on); a warning stays",
        (),
        action="append",
        metavar="CHECK",
    )
    batch: int = option("slices at once on the device (default 40)", 40)
    json: bool = option("print the ages as JSON", False)

    def default_out(self) -> Path:
        """Where the tables go without --out."""
        return self.model / "ages"


def run(options: Options) -> int:
    """Write the ages and print them; 2 where a scan was refused."""
    import json
    import sys

    from brain_diffusion_jax import api, files
    from brain_diffusion_jax.api import scan_ages
    from brain_diffusion_jax.cli.progress import bar_of
    from brain_diffusion_jax.data.checks.scan_checks import KINDS
    from brain_diffusion_jax.evaluation.probes.input_checks import UNCHECKED
    from brain_diffusion_jax.evaluation.report import age_tables

    for kind in options.allow:
        if kind not in KINDS:
            raise InputError("command line", "--allow", kind, nearest(kind, KINDS))
    if not options.scans and not options.cohort:
        raise InputError("command line", "SCAN", "nothing", "scans, or --cohort CONFIG")
    files.require_new_folder(options.out, "--out")
    model = api.load(options.model, "age")
    people = (
        scan_ages.cohort_people(options.cohort, options.scans)
        if options.cohort
        else scan_ages.people_of([Path(scan) for scan in options.scans])
    )
    preparing = scan_ages.Preparing.of(model, options.preparation, jpeg=options.jpeg, allowed=options.allow)
    if preparing.profile is None:
        print(f"{model.path}: {UNCHECKED}", file=sys.stderr)
    with bar_of("scan") as progress:
        rows = scan_ages.predict(model, people, preparing, batch_size=options.batch, progress=progress)
    with files.replacing_folder(options.out) as part:
        age_tables.write(part, rows, scan_ages.bias_correction(options.model))
    if options.json:
        print(json.dumps([{k: v for k, v in row.items() if k not in ("slices", "ages")} for row in rows]))
    else:
        print(f"{age_tables.text(rows)}\n{options.out}: ages.csv, slices.csv, ages.png")
    return 2 if any(row["refused"] for row in rows) else 0
