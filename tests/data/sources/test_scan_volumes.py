"""Whole scans as shards of volumes: what is stored, what the contract says, and which scans are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from small_cohort import AFFINE, SCHEMA, brain, write_bids, write_scan

from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.phantoms import phantom
from brain_diffusion_jax.data.prepare import nifti, part_pool, pipeline
from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.sample_folder import volume_nifti
from brain_diffusion_jax.data.shards import reader, writer
from brain_diffusion_jax.data.shards.loader import Loader
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices
from brain_diffusion_jax.data.sources.scan_volumes import ScanVolumes
from brain_diffusion_jax.errors import InputError

PREPARE = {
    "kind": "volumes",
    "spacing_mm": (10.0, 10.0, 10.0),
    "intensity": {"rule": "fixed", "low": 0.0, "high": 200.0},
    "volume": {"size": (16, 24, 18), "offset": (2, -1, 0), "refuse": ()},
}
PEOPLE = Schema(SCHEMA.covariates[:2])
HALVES = SplitSpec(train=0.5, validation=0.0, test=0.5, seed=1)


def source(root: Path, **keys) -> ScanVolumes:
    cohort = read_cohort(CohortSpec(root=str(root)), PEOPLE)
    return ScanVolumes(cohort, Preparation(**{**PREPARE, **keys}), PEOPLE, "made")


def box_of(data: np.ndarray) -> np.ndarray:
    """The box of PREPARE by hand: two planes off at the left and one at the right, one of 0 in front and behind."""
    return np.pad(data[2:18, :, :18], ((0, 0), (1, 1), (0, 0)))


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory) -> Path:
    return write_bids(tmp_path_factory.mktemp("cohort"), people=6)


@pytest.fixture(scope="module")
def shards(cohort_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "set"
    writer.write_shards(out, source(cohort_folder), HALVES)
    return out


def test_what_was_written_is_the_box_of_each_scan(shards):
    contract = Contract.load(shards)
    assert contract.kind == "volumes"
    assert contract.shape == (16, 24, 18, 1)
    assert contract.counts["train"]["scans"] + contract.counts["test"]["scans"] == 6
    for split in ("train", "test"):
        everything = reader.read_all(shards, split)
        for volume, person, condition in zip(
            everything["image"], everything["person"], everything["conditions"], strict=True
        ):
            number = int(person[-2:])
            expected = box_of(np.clip(brain(number) / 200, 0, 1))
            np.testing.assert_allclose(volume[..., 0] / 255, expected, atol=0.51 / 255)
            assert condition == {"age": pytest.approx(20 + 5 * number), "sex": "FM"[number % 2]}


def test_a_generated_volume_lies_where_the_scans_do(shards):
    contract = Contract.load(shards)
    assert contract.spacing_mm == (10.0, 10.0, 10.0)
    np.testing.assert_allclose(
        contract.grid.affine, AFFINE + np.array([[0, 0, 0, 20], [0, 0, 0, -10], [0] * 4, [0] * 4])
    )
    unit = box_of(np.clip(brain(3) / 200, 0, 1)).astype(np.float32)
    image = volume_nifti(unit[..., None], contract)
    scan = nifti.Volume(brain(3), AFFINE)
    back = nifti.resample(nifti.Volume(image.get_fdata(dtype=np.float32), image.affine), scan.data.shape, AFFINE)
    inside = back.data > 0
    assert inside.mean() > 0.1
    np.testing.assert_allclose(back.data[inside], scan.data[inside], rtol=1e-5)


def test_the_contract_says_how_to_prepare_another_scan(shards, cohort_folder):
    contract = Contract.load(shards)
    preparation = preparation_of(contract, "run", "volumes")
    made = pipeline.prepare_whole(
        cohort_folder / "sub-02" / "anat" / "sub-02_T1w.nii.gz",
        Preparation(**{**vars(preparation), **no_checks(preparation)}),
    )
    np.testing.assert_allclose(made.affine, contract.grid.affine)
    np.testing.assert_allclose(made.data / 255, box_of(np.clip(brain(2) / 200, 0, 1)), atol=0.51 / 255)
    with pytest.raises(InputError, match="run: kind: found volumes; expected slices"):
        preparation_of(contract, "run")


def no_checks(preparation: Preparation) -> dict:
    return {"volume": {**preparation.volume, "refuse": ()}}


@pytest.mark.parametrize(
    "keys",
    [
        {"volume": {"size": (16, 20, 18), "offset": (2, 1, 0), "spacing_mm": 20.0}},
        {"volume": {"size": (16, 20, 18), "spacing_mm": 20.0}, "grid": (18, 20, 18)},
        {"volume": {"size": (18, 21, 18), "offset": (0, 0, 0), "spacing_mm": 15.0}},
        {"volume": {}, "spacing_mm": (12.0, 12.0, 12.0)},
        {"volume": {"size": (16, 20, 18)}, "grid": "native"},
        {"volume": {"size": (16, 20, 18)}, "grid": "native", "spacing_mm": ()},
        {"volume": {"size": (16, 20, 18), "spacing_mm": 20.0}, "grid": "native"},
    ],
)
def test_every_contract_is_read_back_as_its_preparation(keys, cohort_folder, tmp_path):
    asked = source(cohort_folder, **keys)
    contract = asked.contract()
    contract.save(tmp_path)
    again = preparation_of(Contract.load(tmp_path), "run", "volumes")
    other = ScanVolumes(asked.cohort, again, PEOPLE, "made").contract()
    require_same(contract, other, "again")
    path = asked.entries()[1].path
    mine, theirs = (
        pipeline.prepare_whole(path, Preparation(**{**vars(p), **no_checks(p)})) for p in (asked.preparation, again)
    )
    assert mine.data.shape == contract.image_size
    np.testing.assert_array_equal(mine.data, theirs.data)


def test_voxels_of_coarser_volumes_are_means_of_what_finer_ones_store(cohort_folder):
    box = {"size": (16, 20, 18), "offset": (2, 1, 0), "refuse": ()}
    path = cohort_folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    rule = {"rule": "fixed", "low": 0.0, "high": 120.0, "dtype": "float32"}  # much is clipped
    fine, coarse = (
        pipeline.prepare_whole(path, Preparation(**{**PREPARE, "intensity": rule, "volume": {**box, **more}})).data
        for more in ({}, {"spacing_mm": 20.0})
    )
    np.testing.assert_allclose(coarse, fine.reshape(8, 2, 10, 2, 9, 2).mean((1, 3, 5)), atol=1e-6)


def test_an_interrupted_prepare_goes_on_with_what_is_finished(shards, cohort_folder, tmp_path, monkeypatch):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write_shards(tmp_path / "out", source(cohort_folder), HALVES, progress=stop)
    made = []
    real = part_pool.save_part
    monkeypatch.setattr(part_pool, "save_part", lambda path, item: (made.append(path), real(path, item)))
    contract = writer.write_shards(tmp_path / "out", source(cohort_folder), HALVES)
    assert contract.fingerprint == Contract.load(shards).fingerprint
    assert len(made) == 3


def test_workers_give_the_same_data(shards, cohort_folder, tmp_path):
    contract = writer.write_shards(tmp_path / "out", source(cohort_folder), HALVES, workers=2)
    assert contract.fingerprint == Contract.load(shards).fingerprint


def test_few_volumes_are_read_at_a_time(shards, monkeypatch, tmp_path, cohort_folder):
    """The limits of memory change how much is read at once, and nothing else."""
    from brain_diffusion_jax.data.shards import loader

    plain = [next(Loader(shards, "train", 2, seed=3))["image"] for _ in range(2)]
    monkeypatch.setattr(loader, "_AHEAD", 1)
    monkeypatch.setattr(writer, "_READ", 1)
    batches = Loader(shards, "train", 2, seed=3)
    np.testing.assert_array_equal(next(batches)["image"], plain[0])
    contract = writer.write_shards(tmp_path / "out", source(cohort_folder), HALVES)
    assert contract.fingerprint == Contract.load(shards).fingerprint


def test_slices_and_volumes_of_one_scan_are_other_parts(cohort_folder):
    volumes = source(cohort_folder)
    entry = volumes.entries()[0]
    slices = ScanSlices(volumes.cohort, Preparation(spacing_mm=(10.0,) * 3), SCHEMA)
    finer = source(cohort_folder, volume={"size": (16, 20, 18)})
    assert len({s.part_name(entry) for s in (volumes, slices, finer)}) == 3
    assert volumes.part_name(entry) == source(cohort_folder).part_name(entry)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "volume"}, "kind: found volume; expected slices or volumes"),
        ({"kind": "slices", "measure": {"volumes": True}}, "prepare.measure: volumes: found prepare.kind=slices"),
        ({"grid": "native", "volume": {}}, "a size and no offset with prepare.grid=native"),
        ({"grid": "native", "spacing_mm": (), "volume": {"size": (4, 4, 4), "spacing_mm": 2.0}}, "spacing_mm"),
        ({"volume": {"size": (15, 20, 18), "spacing_mm": 20.0}}, "a box that whole voxels fill"),
        ({"volume": {"sizes": (1, 2, 3)}}, "prepare.volume: keys: found .'sizes'"),
    ],
)
def test_preparations_that_cannot_be_are_refused(keys, words):
    with pytest.raises(InputError, match=words):
        Preparation(**{**PREPARE, **keys})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: np.where(d > 130, np.nan, d), "voxels: found [0-9]+ NaN"),
        (lambda d: d - 80, "voxels: found negative intensities"),
        (lambda d: np.roll(d, 6, axis=0), "outside the box: found [0-9]+ % of the scan's intensity"),
    ],
)
def test_bad_scans_are_refused_by_name_or_dropped(spoil, words, tmp_path):
    root = write_bids(tmp_path / "c", people=4)
    bad = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    write_scan(bad, spoil(brain(1)).astype(np.float32))
    with pytest.raises(InputError, match=rf"sub-01_T1w\.nii\.gz: {words}"):
        writer.write_shards(tmp_path / "out", source(root), HALVES)
    contract = writer.write_shards(tmp_path / "out", source(root, bad_scans="drop"), HALVES)
    assert contract.counts["dropped"] == {"bad scan": 1}


def test_a_skull_that_is_on_is_refused(tmp_path):
    scan, _ = phantom.make_person(40, "F", np.random.default_rng(0))
    shell = ndimage.distance_transform_edt(~ndimage.binary_closing(scan > 0.3, iterations=2)) * 2
    keys = {"kind": "volumes", "intensity": {"rule": "fixed", "low": 0.0, "high": 1.2}}
    stripped = write_scan(tmp_path / "stripped.nii.gz", scan, nifti.MNI_2MM.affine)
    assert not pipeline.prepare_whole(stripped, Preparation(**keys)).warnings
    head = np.where((shell > 4) & (shell < 12), 1.8, scan)
    skull = write_scan(tmp_path / "skull.nii.gz", head.astype(np.float32), nifti.MNI_2MM.affine)
    with pytest.raises(InputError, match=r"skull.nii.gz: skull: found bright tissue.*expected a skull-stripped scan"):
        pipeline.prepare_whole(skull, Preparation(**keys))
    allowed = pipeline.prepare_whole(
        skull, Preparation(**keys, volume={"refuse": ("orientation",), "most_outside": 1.0})
    )
    assert any("skull" in note for note in allowed.warnings)


@pytest.mark.realdata
def test_real_scans(real_data):
    folder = real_data("oasis1_mni2mm") / "volumes"
    box = {"size": (80, 96, 80), "offset": (6, 6, 0)}
    preparation = Preparation(kind="volumes", intensity={"rule": "fixed", "low": 0.0, "high": 1.2}, volume=box)
    made = pipeline.prepare_whole(folder / "OAS1_0001_MR1.nii.gz", preparation)
    assert made.data.shape == (80, 96, 80)
    assert not made.warnings
    bright = made.data[made.data > 150]  # white matter is stored near 105 of 120
    assert np.median(bright) / 255 * 120 == pytest.approx(100, abs=10)
    with pytest.raises(InputError, match=r"OAS1_0254_MR1.nii.gz: skull"):
        pipeline.prepare_whole(folder / "OAS1_0254_MR1.nii.gz", preparation)
    # A good scan with a rim a little above the limit is kept, and that is said.
    assert "skull" in pipeline.prepare_whole(folder / "OAS1_0065_MR1.nii.gz", preparation).warnings[0]
