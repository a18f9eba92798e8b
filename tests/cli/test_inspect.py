"""`brain-diffusion inspect` and `phantom` end to end on a made cohort, and their bad input."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from brain_diffusion_jax.cli.main import main


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect") / "cohort"
    assert main(["phantom", "--out", str(folder), "--people", "3", "--seed", "4"]) == 0
    path = folder / "sub-002" / "anat" / "sub-002_T1w.nii.gz"
    image = nibabel.load(path)
    upside_down = np.asarray(image.dataobj.get_unscaled())[:, ::-1, ::-1]
    nibabel.save(nibabel.Nifti1Image(upside_down, image.affine, image.header), path)
    return folder


def test_folder_to_sheet_histograms_table_and_json(cohort, tmp_path, capsys):
    capsys.readouterr()
    assert main(["inspect", str(cohort), "--out", str(tmp_path / "look"), "--json", "--columns", "2"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["scans"] == 3
    assert list(summary["flagged"]) == ["sub-002"]
    with open(tmp_path / "look" / "scans.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["flagged"] for r in rows] == ["0", "1", "0"]
    assert all(0 < float(r["volume_litres"]) < 3 for r in rows)
    assert {r["sex"] for r in rows} <= {"F", "M"}
    for name in ("contact_sheet.png", "histograms.png"):
        assert min(Image.open(tmp_path / "look" / name).size) > 200
    page = (tmp_path / "look" / "index.html").read_text()
    assert "3 scans of 3 people, 1 flagged" in page
    assert "http" not in page  # opens without a network


def test_missing_values_in_the_table_do_not_hide_scans(cohort, tmp_path, capsys):
    table = cohort / "participants.tsv"
    kept = table.read_text()
    lines = kept.splitlines()
    cells = lines[1].split("\t")
    lines[1] = "\t".join([cells[0], "n/a", *cells[2:]])
    table.write_text("\n".join(lines) + "\n")
    try:
        capsys.readouterr()
        assert main(["inspect", str(cohort), "--out", str(tmp_path / "look"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["scans"] == 3
    finally:
        table.write_text(kept)


def test_bad_source_and_typo_name_what_was_expected(cohort, tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nowhere"), "--out", str(tmp_path / "look")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["inspect", str(cohort), "cohort.layuot=bids", "--out", str(tmp_path / "look")]) == 2
    assert "cohort.layout" in capsys.readouterr().err
    assert main(["phantom", "--out", str(cohort), "--people", "1"]) == 2
    assert "something already there" in capsys.readouterr().err
