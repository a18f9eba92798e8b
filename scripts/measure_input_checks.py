"""How often corrupted scans are refused, and good ones too: the figures of docs/results.md.

  python scripts/measure_input_checks.py turns FOLDER
  python scripts/measure_input_checks.py inspect FOLDER --every 4
  python scripts/measure_input_checks.py ages FOLDER --run runs/age --split test

FOLDER holds the OASIS-1 volumes on the MNI 2 mm grid (participants.csv, volumes/). `turns`: every good scan turned
and stretched to the outline of another; `inspect`: flags of corrupted scans, one at a time and as a cohort; `ages`:
people of a split of the run's shards through predict-age, with the change of age where the scan is let through.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import tempfile
from pathlib import Path

import numpy as np
from corrupted_scans import CORRUPTIONS, TURNS, box, lying, rotation, tissue_points

from brain_diffusion_jax.data.checks import quality
from brain_diffusion_jax.data.prepare.nifti import Volume, read_volume, save_volume

CHECKS = ("position", "orientation", "skull", "registration", "detail", "intensity", "inputs")


def good_rows(folder: Path) -> list[dict[str, str]]:
    """Rows of participants.csv whose quality control did not fail."""
    with (folder / "participants.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if not row["qc"].startswith("fail")]


def flags(volume: Volume) -> set[str]:
    """The measures that flag a scan on its own."""
    return {f.measure for f in quality.assess([quality.measure_volume(volume)])[0][0].flags}


def turns(folder: Path, every: int) -> None:
    """Print, for each turn of TURNS, the fractions of good scans flagged at all and by `upright`."""
    rows = good_rows(folder)[::every]
    rng = np.random.default_rng(0)
    # The outline of another, upright one.
    outlines = [box(tissue_points(read_volume(folder / row["file"]).data)) for row in good_rows(folder)[:: 8 * every]]
    counts = {name: [0, 0] for name in TURNS}
    missed, false_alarms, before = [], [], 0
    for row in rows:
        volume = read_volume(folder / row["file"])
        found = flags(volume)
        before += bool(found - {"upright"})
        if found == {"upright"}:
            false_alarms.append(row["session_id"])
        for name, (axis, angle) in TURNS.items():
            outline = outlines[rng.integers(len(outlines))]
            turned = Volume(lying(volume.data, rotation(axis, angle), outline), volume.affine)
            measured = quality.measure(quality.coarse(turned))
            seen = {f.measure for f in quality.assess([measured])[0][0].flags}
            counts[name][0] += bool(seen)
            counts[name][1] += "upright" in seen
            if not seen:
                missed.append((row["session_id"], name, measured["upright"]))
    print(f"{len(rows)} good scans: {before} flagged without `upright`, {len(false_alarms)} by it alone {false_alarms}")
    for name, (any_flag, upright) in counts.items():
        print(f"| {name} | {100 * any_flag / len(rows):.1f} % | {100 * upright / len(rows):.1f} % |")
    print("missed:", missed)


def inspect(folder: Path, every: int) -> None:
    """Print, for each corruption, how many scans are flagged alone and within the cohort."""
    volumes = [read_volume(folder / row["file"]) for row in good_rows(folder)[::every]]
    own = [quality.measure_volume(v) for v in volumes]
    print(f"| as they are | {sum(bool(a.flags) for a in quality.assess(own)[0])} of {len(own)} |")
    for name, corrupt in CORRUPTIONS.items():
        singles, cohort = 0, 0
        for number, volume in enumerate(volumes):
            measured = quality.measure_volume(Volume(corrupt(volume.data).astype(np.float32), volume.affine))
            singles += bool(quality.assess([measured])[0][0].flags)
            cohort += bool(quality.assess([*own[:number], measured, *own[number + 1 :]])[0][number].flags)
        print(f"| {name} | {singles} | {cohort} | of {len(volumes)}", flush=True)


def ages(folder: Path, run: Path, shards: Path, split: str, every: int, only: list[str]) -> None:
    """Print, for each corruption, the change of predicted age in years and how many scans are refused."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.api import scan_ages

    with (shards / "scans.csv").open(encoding="utf-8") as file:
        scans = [row["scan"] for row in csv.DictReader(file) if row["split"] == split][::every]
    model = api.load(run, "age")
    volumes = {scan: read_volume(folder / "volumes" / f"{scan}.nii.gz") for scan in scans}

    def predict(volumes: dict[str, Volume]) -> list[tuple[str, float | None, dict[str, str]]]:
        """(scan, age as if nothing were refused, check -> what it said) of each."""
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            people = []
            for scan, volume in volumes.items():
                path = save_volume(Path(folder) / f"{scan}.nii", volume.data.astype(np.float32), volume.affine)
                people.append(scan_ages.Person(scan, path))
            rows = scan_ages.predict(model, people, scan_ages.Preparing.of(model, allowed=CHECKS))
        said = [{k: n for n in row["notes"] for k in CHECKS if f": {k}: found" in n} for row in rows]
        # What is refused whatever is allowed (no brain in the slices) counts under its own name.
        other = [{"unreadable": row["refused"]} if row["refused"] else {} for row in rows]
        return [(row["name"], row["age"], a | b) for row, a, b in zip(rows, said, other, strict=True)]

    own = predict(volumes)
    refused = [(name, said) for name, _, said in own if said]
    print(f"{split}: {len(scans)} scans, {len(refused)} refused as they are")
    for name, said in refused:
        print("  ", name, *said.values())
    total = np.zeros(2, int)
    for name, corrupt in CORRUPTIONS.items():
        if only and name not in only:
            continue
        found = predict({scan: Volume(corrupt(v.data).astype(np.float32), v.affine) for scan, v in volumes.items()})
        moves = np.array([np.nan if b is None else abs(b - a) for (_, a, _), (_, b, _) in zip(own, found, strict=True)])
        stopped = np.array([bool(said) for _, _, said in found])
        by_profile = sum("inputs" in said for _, _, said in found)
        kinds = ", ".join(k for k in (*CHECKS, "unreadable") if any(k in said for _, _, said in found))
        far = moves > 10
        total += (far.sum(), (far & stopped).sum())
        mean = "none" if np.isnan(moves).all() else f"{np.nanmean(moves):.1f}"
        shares = f"{stopped.sum()} of {len(found)} | {by_profile} | {(far & stopped).sum()} of {far.sum()}"
        print(f"| {name} | {mean} | {shares} | {kinds} |", flush=True)
    print(f"age moved by more than 10 years: {total[0]}, refused {total[1]}")


def main() -> None:
    """Run one of the three measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("turns", "inspect", "ages"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every n-th scan")
    parser.add_argument("--run", type=Path, default=Path("runs/age"))
    parser.add_argument("--shards", type=Path, default=Path("shards/oasis_age"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--only", nargs="*", default=[], help="names of corruptions")
    given = parser.parse_args()
    if given.what == "ages":
        ages(given.folder, given.run, given.shards, given.split, given.every, given.only)
    else:
        {"turns": turns, "inspect": inspect}[given.what](given.folder, given.every)


if __name__ == "__main__":
    main()
