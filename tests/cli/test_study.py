"""`brain-diffusion study` as a user runs it, on small random networks and made-up people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_runs

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.study import real_people


def people(count, seed):
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 90, count).round()
    images = rng.integers(0, 255, (count, *tiny_runs.SIZE)).astype(np.uint8)
    conditions = [{"age": a, "sex": "FM"[i % 2], "slice": 2.0 + i % 3} for i, a in enumerate(ages)]
    return ImageSet(images, conditions, [f"{seed}-{i}" for i in range(count)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Run folders of a diffusion and an age model, and a folder that stands for their shards."""
    root = tmp_path_factory.mktemp("runs")
    sample = ["sample.batch_size=4", "sample.num_steps=2", "study.bootstrap=4", "study.guidance_scales=(2.0,)"]
    tiny_runs.diffusion_run(root / "run", *sample)
    tiny_runs.age_run(root / "age")
    Contract.load(root / "run").save(root / "shards")
    return root


@pytest.fixture
def real(monkeypatch):
    sets = {"train": people(20, 1), "test": people(9, 2)}
    monkeypatch.setattr(real_people, "read_real", lambda shards, contract: sets)
    return sets


def test_study_of_a_run(folders, real, tmp_path, capsys):
    run, age, shards = (str(folders / name) for name in ("run", "age", "shards"))
    words = ["study", run, "--data", shards, "--age-model", age, "--num", "6", "--out", str(tmp_path), "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["rows"]] == ["real", "real, training people", "w=2"]
    assert found["rows"][2]["num_pictures"] == 6
    assert "FD[small_cnn-pool]" in found["rows"][2]["numbers"]
    assert "slice mae" in found["rows"][2]["numbers"]
    assert found["method"]["sampling"]["num_steps"] == 2
    assert found["method"]["age_model"] == age
    html = (tmp_path / "report.html").read_text()
    assert "small_cnn-pool" in html
    stored = sorted((tmp_path / "samples").rglob("*.npy"))
    times = [path.stat().st_mtime_ns for path in stored]
    assert main([*words, "--compare", str(tmp_path)]) == 0  # again: nothing is made anew, and beside itself
    assert times == [path.stat().st_mtime_ns for path in stored]
    assert "Studies side by side" in (tmp_path / "report.html").read_text()
    capsys.readouterr()
    assert main([*words, "--steps", "1"]) == 2  # other pictures in the same folder
    assert "plan.json: model" in capsys.readouterr().err


def test_eight_devices_give_a_study_the_pictures_of_one(folders, tmp_path):
    script = Path(__file__).with_name("sample_on_devices.py")
    found = {}
    for count in (1, 8):
        flags = f"--xla_force_host_platform_device_count={count} --xla_backend_optimization_level=0"
        environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        words = [sys.executable, str(script), str(folders / "run"), str(tmp_path / f"{count}.npy")]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        found[count] = done.stdout.split("\n")[-2]
    assert found == {1: "1 []", 8: "8 [8]"}
    alone, spread = (np.load(tmp_path / f"{count}.npy") for count in (1, 8))
    np.testing.assert_allclose(spread, alone, atol=1e-5)
    assert np.ptp(alone, axis=0).max() > 0.01


def test_study_of_a_gan_of_classes(tmp_path, monkeypatch, capsys):
    run = tiny_runs.gan_run(tmp_path / "gan", tiny_runs.CLASSES, "study.bootstrap=4", "sample.batch_size=4")
    predictor = tiny_runs.class_run(tmp_path / "class", tiny_runs.CLASSES)
    Contract.load(run).save(tmp_path / "shards")
    kinds = [{"kind": ("round", "square")[i % 2]} for i in range(20)]
    sets = {
        s: ImageSet(p.images, kinds[: len(p)], p.people) for s, p in (("train", people(20, 1)), ("test", people(9, 2)))
    }
    monkeypatch.setattr(real_people, "read_real", lambda shards, contract: sets)
    words = ["study", str(run), "--data", str(tmp_path / "shards"), "--classifier", str(predictor)]
    assert main([*words, "--out", str(tmp_path / "study"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["rows"]] == ["real", "real, training people", "w=1"]
    assert "FD[small_cnn-class-pool]" in found["rows"][2]["numbers"]
    assert any("no guidance" in note for note in found["notes"])
    for option in (["--scales", "1,3"], ["--steps", "4"], ["--sampler", "ddim"]):
        assert main([*words, *option, "--out", str(tmp_path / "other")]) == 2
        assert f"{option[0]}: found {option[1]}" in capsys.readouterr().err


def test_study_refuses_what_does_not_belong_together(folders, real, tmp_path, capsys):
    run, age, shards = (str(folders / name) for name in ("run", "age", "shards"))
    contract = Contract.load(folders / "run")
    other = Contract(contract.schema, (20, 20))
    other.save(tmp_path / "other")
    for words, message in [
        ([], "RUN: found nothing"),
        ([age, "--data", shards], "kind: found age"),
        ([run], "--data: found nothing"),
        ([run, "--data", str(tmp_path / "other")], "image_size: [14, 12] against [20, 20]"),
        ([run, "--data", shards, "--age-model", run], "kind: found diffusion"),
        ([run, "--data", shards, "--age-model", str(tmp_path)], "config.json"),
        ([run, "--data", shards, "--baselines", run, age], "kind: found age; expected diffusion or gan"),
        ([run, "--data", shards, "--scales", "1,x"], "--scales: found"),
        ([run, "--data", shards, "--split", "tset"], "evaluated split: found tset"),
        ([run, "--data", shards, "--inception", str(tmp_path / "none.pth")], "no such file"),
        ([run, "--data", shards, "--medicalnet", str(tmp_path / "none.pth")], "no such file"),
        ([run, "study.bootsrap=3", "--data", shards], "study.bootstrap"),
        (["--compare", str(tmp_path), run], "study.json: study: found no such file"),
    ]:
        assert main(["study", *words, *([] if "--compare" in words else ["--out", str(tmp_path / "out")])]) == 2, words
        assert message in capsys.readouterr().err, words
    assert not (tmp_path / "out" / "study.json").exists()
