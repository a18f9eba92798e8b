"""The table of samplers against steps: held-out people's conditions, equal network calls, a reference."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tiny_runs

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.study import real_people


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    tiny_runs.diffusion_run(root / "run", "sample.batch_size=8")
    tiny_runs.age_run(root / "age")
    Contract.load(root / "run").save(root / "shards")
    return root


@pytest.fixture
def people(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (12, *tiny_runs.SIZE)).astype(np.uint8)
    conditions = [{"age": 20.0000001 + 5 * i, "sex": "FM"[i % 2], "slice": 2.0 + i % 3} for i in range(12)]
    found = ImageSet(images, conditions, [f"p{i // 2}" for i in range(12)])
    monkeypatch.setattr(real_people, "read_real", lambda shards, contract: {"test": found})
    return found


def words(folders, out, *more):
    start = ["sweep", str(folders / "run"), "--data", str(folders / "shards"), "--out", str(out), "--scales", "1"]
    return [*start, "--people", "test", "--age-model", str(folders / "age"), *more]


def test_a_table_beside_held_out_people(folders, people, tmp_path, capsys):
    settings = ["--samplers", "ddim,heun", "--calls", "3", "--reference", "ddpm:5", "--bootstrap", "6"]
    settings += ["--only", "slice=2,4", "--spacings", "trailing,optimised"]
    out = tmp_path / "out"
    assert main([*words(folders, out), *settings, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows, (real,) = printed["cells"], printed["real"]
    assert real["pictures"] == 8
    assert real["age mae"] > 0
    settings_of = [(r["sampler"], r["spacing"], r["num_steps"], r["network_calls"]) for r in rows]
    assert sorted(settings_of) == [
        ("ddim", "optimised", 3, 3),
        ("ddim", "trailing", 3, 3),
        ("ddpm", "trailing", 5, 5),
        ("heun", "optimised", 2, 3),
        ("heun", "trailing", 2, 3),
    ]
    assert {r["pictures"] for r in rows} == {8}
    (reference,) = (r for r in rows if r["sampler"] == "ddpm")
    assert reference["meets"]
    assert reference["age mae more"] == reference["FD[small_cnn-pool] more"] == 0
    for row in rows:
        fd = "FD[small_cnn-pool]"
        assert row[f"{fd} low"] <= row[fd] <= row[f"{fd} high"]
        limits = all(row[name] <= reference[f"{name} high"] for name in (fd, "age mae"))
        assert row["meets"] == limits
        assert row[f"{fd} more"] == pytest.approx(row[fd] - reference[fd], abs=1e-9)
    with (out / "sweep.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(rows) + 1
    with (out / rows[0]["cell"] / "manifest.csv").open() as stream:
        manifest = list(csv.DictReader(stream))
    assert {row["slice"] for row in manifest} == {"2.0", "4.0"}
    assert manifest[0]["age"] == "20.0"  # without the dust of float32
    # The text says value [low, high], and only what differs between the rows.
    assert main([*words(folders, out), *settings, "--resume"]) == 0
    text = capsys.readouterr().out
    assert "meets" in text
    assert "guidance_scale" not in text
    assert " [" in text.splitlines()[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "age=20"], "--people"),
        (["--people", "tset"], "one of test"),
        (["--only", "slicee=4"], "slice"),
        (["--only", "slice=7"], "empty set"),
        (["--reference", "ddpm"], "SAMPLER:STEPS"),
        (["--reference", "ddpn:5"], "ddpm"),
        (["--reference", "ddpm:5000"], "num_steps"),
        (["--calls", "0"], "enough for one step"),
        (["--calls", "5", "--steps", "5"], "--steps"),
    ],
)
def test_what_makes_no_sense_is_refused(folders, people, tmp_path, capsys, more, message):
    assert main(words(folders, tmp_path / "new", *more)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_people_need_a_reader_and_a_reference_needs_people(folders, tmp_path, capsys):
    start = ["sweep", str(folders / "run"), "--out", str(tmp_path / "new")]
    assert main([*start, "--people", "test", "--data", str(folders / "shards")]) == 2
    assert "--age-model" in capsys.readouterr().err
    assert main([*start, "--reference", "ddpm:5"]) == 2
    assert "--people" in capsys.readouterr().err


def test_a_sweep_that_does_not_fit_says_the_chunk_that_would(folders, tmp_path, capsys):
    start = ["sweep", str(folders / "run"), "--set", "age=20,30,40,50", "--scales", "1,3"]
    assert main([*start, "--out", str(tmp_path / "new"), "--memory-gib", "0.0001"]) == 2
    assert "memory: found" in capsys.readouterr().err
