"""The embedded default data: a cohort of procedurally made brains, written as NIfTI in BIDS layout.

No download and no person: anatomy comes from `phantom_anatomy`, contrast from `phantom_scan`. Age widens
ventricles and sulci along the relation seen in healthy people, sex changes size a little, and each
person deviates. participants.tsv carries the true tissue volumes, so that a measurement can be checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from brain_diffusion_jax import __version__, files
from brain_diffusion_jax.data.phantoms import phantom_anatomy, phantom_scan
from brain_diffusion_jax.data.table import write_table
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.seeds import check_seed

AGE_RANGE_YEARS = (18.0, 90.0)
# Lateral ventricles / intracranial volume against age: about 1.1 % at 45, 1.8 % at 65, 2.35 % at 75.
_AGES = (18.0, 30.0, 45.0, 65.0, 75.0, 90.0)
_VENTRICLE_FRACTIONS = (0.0072, 0.0086, 0.0110, 0.0180, 0.0235, 0.0325)
VENTRICLE_SPREAD = 0.20  # standard deviation of the logarithm between people of one age
_SULCUS_HALF_WIDTHS_MM = (0.32, 0.36, 0.48, 0.72, 0.86, 1.05)
_CORTEX_MM = (3.3, 3.2, 3.05, 2.85, 2.75, 2.6)
_SIZE = {"F": 0.995, "M": 1.020}
SIZE_SPREAD = 0.012
AFFINE_LAS = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Phantom:
    """One made person. volumes in mm^3; of the head are ventricle_fraction = lateral ventricles, brain_fraction = grey
    and white matter.
    """

    participant_id: str
    age: float
    sex: str
    head_mm3: float
    grey_mm3: float
    white_mm3: float
    csf_mm3: float
    ventricles_mm3: float
    ventricle_fraction: float
    brain_fraction: float


_COLUMNS = {
    "participant_id": "identifier of a made person",
    "age": {"Description": "age", "Units": "years"},
    "sex": {"Description": "sex", "Levels": {"F": "female", "M": "male"}},
    "head_mm3": {"Description": "true volume inside the brain's hull, fluid included", "Units": "mm^3"},
    "grey_mm3": {"Description": "true grey matter volume", "Units": "mm^3"},
    "white_mm3": {"Description": "true white matter volume", "Units": "mm^3"},
    "csf_mm3": {"Description": "true fluid volume, ventricles included", "Units": "mm^3"},
    "ventricles_mm3": {"Description": "true volume of the lateral ventricles", "Units": "MNI-scaled mm3"},
    "ventricle_fraction": {"Description": "ventricles_mm3 / head_mm3"},
    "brain_fraction": {"Description": "(grey_mm3 + white_mm3) / head_mm3", "Units": "fraction"},
}


def draw_shape(age_years: float, sex: str, rng: np.random.Generator) -> phantom_anatomy.Shape:
    """A person's deviations from the mean shape."""
    spread = rng.standard_normal(4)
    log_ventricle = VENTRICLE_SPREAD * spread[0] - 0.5 * VENTRICLE_SPREAD**2  # keeps the mean
    sulcus = np.interp(age_years, _AGES, _SULCUS_HALF_WIDTHS_MM) * np.exp(0.15 * (0.6 * spread[0] + 0.8 * spread[1]))
    return phantom_anatomy.Shape(
        scale=_SIZE[sex] * float(np.exp(SIZE_SPREAD * spread[2])),
        ventricle_fraction=float(np.interp(age_years, _AGES, _VENTRICLE_FRACTIONS) * np.exp(log_ventricle)),
        sulcus_mm=float(sulcus),
        cortex_mm=float(np.interp(age_years, _AGES, _CORTEX_MM) * np.exp(0.03 * spread[3])),
    )


def make_person(
    age_years: float, sex: str, rng: np.random.Generator, participant_id: str = ""
) -> tuple[np.ndarray, Phantom]:
    """A scan float32 [91, 109, 91] in RAS on the MNI 2 mm grid (white matter near 1), and its truth."""
    if sex not in _SIZE:
        raise InputError("phantom", "sex", repr(sex), "F or M")
    anatomy = phantom_anatomy.build(draw_shape(age_years, sex, rng), rng)
    contrast = 1.0 - 0.002 * max(age_years - 40.0, 0.0)  # grey and white come closer with age
    scan = phantom_scan.t1_weighted(anatomy, rng, contrast=contrast)
    voxel_mm3 = phantom_anatomy.SPACING_MM**3
    head, grey, white, csf, ventricle = (
        float(fraction.sum(dtype=np.float64)) * voxel_mm3
        for fraction in (anatomy.head, anatomy.grey, anatomy.white, anatomy.csf, anatomy.ventricle)
    )
    brain = (grey + white) / head
    return scan, Phantom(participant_id, age_years, sex, head, grey, white, csf, ventricle, ventricle / head, brain)


def draw_people(people: int, seed: int) -> list[tuple[float, str]]:
    """Ages (one decimal) and sexes spread evenly over both; the first n do not change when people are added."""
    start = np.random.default_rng([seed, 0]).random(2)
    steps = np.arange(people)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])  # R2 sequence
    age_share, sex_share = np.mod(start + steps, 1.0).T
    low, high = AGE_RANGE_YEARS
    return [
        (round(float(low + (high - low) * a), 1), "F" if s < 0.5 else "M")
        for a, s in zip(age_share, sex_share, strict=True)
    ]


def write_cohort(folder: str | Path, people: int, seed: int, *, progress: Callable[[int], None] | None = None) -> Path:
    """Write `people` made brains as a BIDS folder; returns the folder.

    Scans are uint8 with slope 0.01 and an LAS affine, as published cohorts come. Same seed, same bytes of
    image; person i does not depend on how many there are. progress: called with each finished count.
    Raises InputError where `people` < 1 or the folder already holds something; an interrupted call leaves
    no folder.
    """
    folder = Path(folder)
    check_seed(seed, "phantom")
    if people < 1:
        raise InputError("phantom", "people", people, "at least 1")
    with files.replacing_folder(folder) as part:
        _write_people(part, people, seed, progress)
    return folder


def _write_people(folder: Path, people: int, seed: int, progress: Callable[[int], None] | None) -> None:
    import nibabel

    truths = []
    width = max(3, len(str(people)))
    for index, (age, sex) in enumerate(draw_people(people, seed)):
        name = f"sub-{index + 1:0{width}d}"
        scan, truth = make_person(age, sex, np.random.default_rng([seed, 1, index]), name)
        stored = np.clip(np.rint(scan[::-1] * phantom_scan.STORED_PER_UNIT), 0, 255).astype(np.uint8)
        image = nibabel.Nifti1Image(stored, AFFINE_LAS)
        image.header.set_slope_inter(1.0 / phantom_scan.STORED_PER_UNIT, 0.0)
        image.header.set_xyzt_units("mm")
        path = folder / name / "anat" / f"{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(image, path)
        truths.append(truth)
        if progress is not None:
            progress(index + 1)
    _write_tables(folder, truths, seed)


def _write_tables(folder: Path, truths: list[Phantom], seed: int) -> None:
    rows = []
    for truth in truths:
        row = asdict(truth)
        row.update({k: f"{v:.0f}" for k, v in row.items() if k.endswith("_mm3")})
        row.update({k: f"{v:.5f}" for k, v in row.items() if k.endswith("_fraction")})
        rows.append([row[name] for name in _COLUMNS])
    write_table(folder / "participants.tsv", list(_COLUMNS), rows, "\t")
    files.write_json(folder / "participants.json", _COLUMNS)
    description = {
        "Name": "Procedurally made brains (no person)",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "brain-diffusion-jax phantom", "Version": __version__, "Seed": seed}],
    }
    files.write_json(folder / "dataset_description.json", description)
