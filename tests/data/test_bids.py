"""What a BIDS data set of synthetic images says, and what has no place in one."""

from __future__ import annotations

from dataclasses import replace

import bids_validator
import nibabel
import numpy as np
import pytest
import small_shards

from brain_diffusion_jax.contract import Contract, Grid
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.data import bids
from brain_diffusion_jax.data.condition_draw import DrawnRow
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.files import read_json

ROWS = [DrawnRow(0, {"age": 30.123456789, "sex": "F"}, 7), DrawnRow(1, {"age": None}, 8)]
ORIGIN = {"Name": "brain-diffusion-jax", "Version": "1", "ConfigSHA256": "ab", "Checkpoint": 5}


@pytest.fixture
def dataset(tmp_path):
    made = bids.Dataset(tmp_path / "out", bids.Contrast("FLAIR", False), ORIGIN, {"sampler": "ddim"})
    made.write_tables(small_shards.SCHEMA, ROWS, ("other.csv", "folder"))
    for row in ROWS:
        made.write_sidecar(row)
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 1), np.float32), np.eye(4)), made.image(row.row))
    (made.folder / "other.csv").write_text("a\n")
    (made.folder / "folder").mkdir()
    (made.folder / "folder" / "picture.png").write_bytes(b"")
    return made


def test_every_file_says_that_nobody_was_scanned(dataset):
    for path in (dataset.folder / bids.DESCRIPTION, dataset.sidecar(0)):
        assert read_json(path)["SyntheticData"] is True
    assert "SYNTHETIC" in read_json(dataset.folder / bids.DESCRIPTION)["Name"]
    assert (dataset.folder / "README.md").read_text().startswith("# SYNTHETIC DATA: no person was scanned")
    assert "with their skull on" in (dataset.folder / "README.md").read_text()
    assert dataset.image(1).name == "sub-000001_desc-synthetic_FLAIR.nii.gz"


def test_tables_hold_what_was_requested_with_units(dataset):
    lines = [line.split("\t") for line in (dataset.folder / bids.PARTICIPANTS).read_text().splitlines()]
    assert lines == [
        ["participant_id", "seed", "age", "sex"],
        ["sub-000000", "7", "30.12346", "F"],
        ["sub-000001", "8", "n/a", "n/a"],
    ]
    columns = read_json(dataset.folder / "participants.json")
    assert list(columns) == lines[0]
    assert columns["age"]["Units"] == "year"
    assert columns["sex"]["Levels"] == {"F": "female", "M": "male"}
    assert read_json(dataset.sidecar(1))["Requested"] == {}
    assert read_json(dataset.sidecar(0))["SkullStripped"] is False


@pytest.mark.bids
def test_the_official_validator_agrees_and_would_say_otherwise(dataset):
    assert not bids_validator.errors(dataset.folder)
    dataset.sidecar(0).unlink()
    (dataset.folder / ".bidsignore").unlink()
    found = " ".join(bids_validator.errors(dataset.folder))
    assert "SkullStripped" in found
    assert "other.csv" in found


@pytest.mark.parametrize(
    ("contract", "found"),
    [
        (None, "none"),
        (Contract(small_shards.SCHEMA, (8, 8), kind="pictures"), "pictures of 1 channels"),
        (Contract(small_shards.SCHEMA, (8, 8), kind="slices"), "slices of 1 channels"),
        (replace(small_shards.Blobs((4, 4, 4), 1).contract(), channels=2), "volumes of 2 channels"),
        (
            Contract(Schema((Continuous("seed", "1", 0, 1),)), (4, 4, 4), kind="volumes", grid=Grid("box", (4, 4, 4))),
            "covariates: found seed",
        ),
    ],
)
def test_what_has_no_place_is_refused(contract, found):
    with pytest.raises(InputError, match=found):
        bids.require_place(contract, "run")


def test_an_unknown_contrast_and_other_words_than_sexes():
    with pytest.raises(InputError, match="--suffix: found T9w; expected one of T1w"):
        bids.Contrast("T9w")
    assert bids.columns(Schema((Categorical("scanner", ("A", "B")),)))["scanner"]["Levels"] == {"A": "A", "B": "B"}
