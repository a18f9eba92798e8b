"""The made brains: true volumes along the age relation, brain-like pictures, BIDS on disk."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from brain_diffusion_jax.api.preparation import open_source
from brain_diffusion_jax.config import load_config
from brain_diffusion_jax.data.phantoms import phantom, phantom_anatomy, phantom_scan
from brain_diffusion_jax.data.prepare.head_volumes import fit_region, measure
from brain_diffusion_jax.data.prepare.nifti import MNI_2MM, Volume
from brain_diffusion_jax.data.prepare.volume_box import VolumeBox
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_uint8

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Four made people on disk, their table and RAS arrays."""
    folder = phantom.write_cohort(tmp_path_factory.mktemp("phantom") / "cohort", people=4, seed=3)
    with open(folder / "participants.tsv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    scans = [
        nibabel.as_closest_canonical(
            nibabel.load(folder / r["participant_id"] / "anat" / f"{r['participant_id']}_T1w.nii.gz")
        )
        for r in rows
    ]
    return folder, rows, scans


@pytest.mark.parametrize(("age", "percent"), [(45, 1.10), (65, 1.80), (75, 2.35)])
def test_ventricles_follow_the_real_relation_in_the_label_map(age, percent):
    drawn = [phantom.draw_shape(age, "F", np.random.default_rng([age, i])) for i in range(400)]
    fractions = 100 * np.array([s.ventricle_fraction for s in drawn])
    assert abs(fractions.mean() - percent) < 0.06
    assert 0.1 < fractions.std() / fractions.mean() < 0.35  # individual spread
    anatomy = phantom_anatomy.build(drawn[0], np.random.default_rng(0))
    inside = (anatomy.ventricle > 0.5) & (anatomy.head > 0.5)
    assert 100 * inside.sum() / (anatomy.head > 0.5).sum() == pytest.approx(fractions[0], rel=0.08)


def test_tissue_shares_sum_to_the_head_and_are_shares():
    anatomy = phantom_anatomy.build(phantom.draw_shape(30, "M", np.random.default_rng(1)), np.random.default_rng(1))
    for share in (anatomy.head, anatomy.csf, anatomy.grey, anatomy.white, anatomy.ventricle, *anatomy.deep.values()):
        assert share.min() >= -1e-6
        assert share.max() <= 1 + 1e-6
    np.testing.assert_allclose(anatomy.csf + anatomy.grey + anatomy.white, anatomy.head, atol=1e-4)
    millilitres = 0.008 * anatomy.head.sum()
    assert 1600 < millilitres < 2300  # MNI brains are large
    assert 1.1 < anatomy.grey.sum() / anatomy.white.sum() < 1.9


def test_old_brains_have_wider_sulci_and_contrast_is_t1():
    young = phantom_anatomy.build(phantom.draw_shape(20, "F", np.random.default_rng(5)), np.random.default_rng(5))
    old = phantom_anatomy.build(phantom.draw_shape(85, "F", np.random.default_rng(5)), np.random.default_rng(5))
    sulcal = [(a.csf - a.ventricle).sum() / a.head.sum() for a in (young, old)]
    assert sulcal[1] > 1.4 * sulcal[0]
    scan = phantom_scan.t1_weighted(young, np.random.default_rng(0))[phantom_anatomy.BOX]
    means = [scan[share > 0.95].mean() for share in (young.csf, young.grey, young.white)]
    assert means[0] < 0.4 < 0.6 < means[1] < 0.85 < 0.95 < means[2] < 1.1


def test_scan_is_nearly_symmetric_with_folds_anterior_first(cohort):
    for image in cohort[2]:
        scan = image.get_fdata()
        assert scan.shape == (91, 109, 91)
        brain = scan > 0.3
        mirrored = brain[::-1]
        assert 2 * (brain & mirrored).sum() / (2 * brain.sum()) > 0.88
        # The cerebellum is behind and below; the frontal pole is narrower than the occiput.
        assert brain[30:60, 20:40, 10:22].mean() > 5 * max(brain[30:60, 80:100, 10:22].mean(), 0.02)
        # Folding: along a ring under the surface, grey and white alternate many times.
        angles = np.linspace(0, 2 * np.pi, 400)
        ring = scan[(45 + 24 * np.cos(angles)).astype(int), (55 + 34 * np.sin(angles)).astype(int), 50]
        assert np.count_nonzero(np.diff(ring > 0.87)) >= 16


def test_sex_changes_size_a_little():
    sizes = {s: np.mean([phantom.draw_shape(50, s, np.random.default_rng(i)).scale for i in range(200)]) for s in "FM"}
    assert 1.01 < sizes["M"] / sizes["F"] < 1.05


def test_folder_is_bids_with_truth(cohort):
    folder, rows, scans = cohort
    assert (folder / "dataset_description.json").exists()
    assert [r["participant_id"] for r in rows] == [f"sub-00{i}" for i in range(1, 5)]
    assert {r["sex"] for r in rows} == {"F", "M"}
    for row, image in zip(rows, scans, strict=True):
        low, high = phantom.AGE_RANGE_YEARS
        assert low <= float(row["age"]) <= high
        np.testing.assert_allclose(image.affine, [[2, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
        occupied = 8 * (image.get_fdata() > 0).sum()
        assert 0.85 < occupied / float(row["head_mm3"]) < 1.06  # stripped of the fluid outside
        truth = {name: float(row[name]) for name in row if name.endswith(("mm3", "fraction"))}
        assert truth["ventricles_mm3"] / truth["head_mm3"] == pytest.approx(truth["ventricle_fraction"], abs=1e-5)
        tissue = truth["grey_mm3"] + truth["white_mm3"]
        assert tissue / truth["head_mm3"] == pytest.approx(truth["brain_fraction"], abs=1e-5)


def test_true_volumes_are_conditions_and_measured_ones_follow_them(tmp_path):
    """configs/phantom/volumes.py: what the table says is read; what is measured on the volumes agrees with it."""
    ages = (30.0, 62.0, 68.0, 74.0, 80.0, 86.0)
    people = [phantom.make_person(age, "FM"[i % 2], np.random.default_rng(i)) for i, age in enumerate(ages)]
    box = VolumeBox(size=(80, 96, 80), offset=(6, 6, 0), spacing_mm=4.0)
    cut = [box.cut(Volume(np.clip(scan / 1.2, 0, 1), MNI_2MM.affine)) for scan, _ in people]
    stored = np.stack([to_uint8(volume.data) for volume in cut])
    region = fit_region(lambda: iter(stored), lambda: iter(stored[1:]), cut[0].affine)
    found = measure(stored, region)["ventricles"]
    true = np.array([truth.ventricles_mm3 for _, truth in people])
    assert np.corrcoef(found, true)[0, 1] > 0.9

    folder = phantom.write_cohort(tmp_path / "cohort", people=1, seed=3)
    source = open_source(load_config(CONFIGS / "phantom" / "volumes.py", [f"cohort.root={folder}"]))
    (scan,) = source.cohort.scans
    with open(folder / "participants.tsv", encoding="utf-8") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert scan.covariates["ventricles"] == float(row["ventricles_mm3"])
    assert scan.covariates["brain"] == float(row["brain_fraction"])
    assert source.contract().shape == (40, 48, 40, 1)
    assert source.prepare(source.entries()[0]).images.shape == (1, 40, 48, 40, 1)


def test_same_seed_same_people_and_more_people_leave_the_first_alone(cohort, tmp_path):
    again = phantom.write_cohort(tmp_path / "again", people=1, seed=3)
    name = "sub-001/anat/sub-001_T1w.nii.gz"
    np.testing.assert_array_equal(
        np.asarray(nibabel.load(again / name).dataobj), np.asarray(nibabel.load(cohort[0] / name).dataobj)
    )
    assert phantom.draw_people(3, 3) == phantom.draw_people(9, 3)[:3]
    ages = np.sort([age for age, _ in phantom.draw_people(60, 0)])
    assert np.diff(ages).max() < 6  # spread over the whole range


def test_bad_input_is_refused_and_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="something already there"):
        phantom.write_cohort(tmp_path / "mine", 1, 0)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    with pytest.raises(InputError, match="people: found 0"):
        phantom.write_cohort(tmp_path / "none", 0, 0)
    with pytest.raises(InputError, match="sex"):
        phantom.make_person(40, "X", np.random.default_rng(0))


def test_interruption_leaves_no_folder_that_looks_whole(tmp_path):
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        phantom.write_cohort(tmp_path / "cohort", 2, 0, progress=stop)
    assert not (tmp_path / "cohort").exists()
