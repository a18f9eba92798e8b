"""Tiny scans and cohorts for tests: ellipsoids on a 10 mm MNI grid, written with nibabel alone."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from brain_diffusion_jax.covariates import Schema

SPACING = 10.0
SHAPE = (19, 22, 19)  # the MNI box at 10 mm
AFFINE = np.array([[10.0, 0, 0, -90], [0, 10, 0, -126], [0, 0, 10, -72], [0, 0, 0, 1]])
PREPARE = {
    "spacing_mm": (SPACING,) * 3,
    "intensity": {"rule": "fixed", "low": 0.0, "high": 200.0},
    "slices": {"rule": "range_index", "start": 7, "stop": 11},
}

SCHEMA = Schema.from_json(
    [
        {"name": "age", "unit": "years", "low": 18, "high": 96},
        {"name": "sex", "values": ("F", "M")},
        {"name": "slice", "unit": "index", "low": 0, "high": 18},
    ]
)


def brain(seed: int = 0) -> np.ndarray:
    """float32 [x, y, z]: 0 outside an off-centre ellipsoid, 60 to 160 with a gradient inside; no symmetry."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = ((x - 0.05) / 0.75) ** 2 + (y / 0.8) ** 2 + (z / 0.8) ** 2 < 1
    texture = np.random.default_rng(seed).uniform(-10, 10, SHAPE)
    return np.where(inside, 110 + 30 * x + 15 * y + 5 * z + texture, 0).astype(np.float32)


def write_scan(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, code: int = 4, dtype=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(data if dtype is None else data.astype(dtype), affine)
    image.set_sform(affine, code=code)
    image.set_qform(None, code=0)
    nibabel.save(image, path)
    return path


def write_bids(folder: Path, people: int = 6, rows: list[tuple[str, str, str]] | None = None) -> Path:
    """participants.tsv and one T1 for each person; rows: (id, age, sex) instead of the made-up ones."""
    rows = rows or [(f"sub-{i:02d}", str(20 + 5 * i), "FM"[i % 2]) for i in range(people)]
    folder.mkdir(parents=True, exist_ok=True)
    text = ["participant_id\tage\tsex", *("\t".join(row) for row in rows)]
    (folder / "participants.tsv").write_text("\n".join(text) + "\n")
    for number, (name, *_) in enumerate(rows):
        write_scan(folder / name / "anat" / f"{name}_T1w.nii.gz", brain(number))
    return folder
