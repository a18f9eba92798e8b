"""Real volumes for tests marked `realdata`: the OASIS-1 heads at 2 mm, cropped to 80x96x80."""

from __future__ import annotations

import csv

import numpy as np

from brain_diffusion_jax.data.prepare.nifti import read_volume


def people(folder):
    """Rows of participants.csv that can be used, one scan a person, in a random order that is always the same."""
    with (folder / "participants.csv").open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["qc"] == "ok" and r["cdr"] and float(r["cdr"]) == 0]
    rows = [r for r in rows if r["is_repeat_scan"] == "0"]
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]


def volumes(folder, rows):
    """uint8 [n, 80, 96, 80, 1] of min(stored / 120, 1): 255 is 1.2 in the scan's unit, above white matter."""
    out = np.zeros((len(rows), 80, 96, 80, 1), np.uint8)
    for image, row in zip(out, rows, strict=True):
        data = read_volume(folder / row["file"]).data[6:86, 6:102, :80]
        image[..., 0] = np.round(np.minimum(data / 1.2, 1) * 255)
    return out
