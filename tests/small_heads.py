"""Made heads on the MNI grid at 4 mm with ventricles of known volume, for what is measured on volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_cohort import write_scan

SHAPE = (46, 55, 46)
AFFINE = np.array([[4.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
FLUID, GREY, WHITE = 0.2, 0.7, 1.0
PREPARE = {
    "kind": "volumes",
    "spacing_mm": (4.0, 4.0, 4.0),
    "intensity": {"rule": "fixed", "low": 0.0, "high": 1.2},
    "volume": {"size": (40, 48, 40), "offset": (3, 3, 2), "refuse": ()},
}
COVARIATES = [
    {"name": "age", "unit": "years", "low": 18, "high": 96},
    {"name": "sex", "values": ["F", "M"]},
]


def ventricle_mm3(age: float, person: int) -> float:
    """The wanted volume: 8,000 at 20 to 50,000 at 90, with a deviation of the person's own."""
    return float(np.interp(age, (20, 90), (8_000, 50_000)) * (0.8 + 0.1 * (person % 5)))


def _share(centre: tuple[float, ...], radii: np.ndarray) -> np.ndarray:
    """Share of every voxel inside an ellipsoid."""
    place = [AFFINE[a, a] * np.arange(n) + AFFINE[a, 3] for a, n in enumerate(SHAPE)]
    x, y, z = np.meshgrid(*place, indexing="ij")
    scaled = np.sqrt(sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), centre, radii, strict=True)))
    return np.clip(0.5 + (1 - scaled) * radii.min() / 4.0, 0, 1)


def head(age: float, person: int = 0) -> tuple[np.ndarray, float]:
    """(scan float32 [46, 55, 46] in RAS, true volume of the ventricles in mm3)."""
    rng = np.random.default_rng(person)
    whole, inner = _share((0, -18, 5), np.array([66.0, 82, 62])), _share((0, -18, 5), np.array([56.0, 72, 52]))
    radii = np.array([7.0, 22, 9]) * (ventricle_mm3(age, person) / 2 / (4 / 3 * np.pi * 7 * 22 * 9)) ** (1 / 3)
    ventricles = np.maximum(_share((12, -10, 22), radii), _share((-12, -10, 22), radii))
    tissue = whole * (GREY + (WHITE - GREY) * inner) + rng.normal(0, 0.02, SHAPE) * (whole > 0.5)
    scan = np.where(whole > 0.5, tissue * (1 - ventricles) + FLUID * ventricles, 0)
    return np.clip(scan, 0, None).astype(np.float32), float(ventricles.sum() * 64)


def write_heads(folder: Path, people: int = 16) -> dict[str, float]:
    """A BIDS folder of heads aged 20 to 90; person -> true ventricular volume."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, truth = ["participant_id\tage\tsex"], {}
    for number in range(people):
        name, age = f"sub-{number:02d}", 20 + 70 * number / (people - 1)
        data, truth[name] = head(age, number)
        write_scan(folder / name / "anat" / f"{name}_T1w.nii.gz", data, AFFINE)
        lines.append(f"{name}\t{age:.1f}\t{'FM'[number % 2]}")
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return truth
