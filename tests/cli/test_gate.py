"""`brain-diffusion gate` on a folder of pictures: verdicts, sheets, measures, bad input."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from brain_diffusion_jax.cli import gate as command
from brain_diffusion_jax.cli import train_class
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.picture_prep import PicturePrep
from brain_diffusion_jax.data.picture_shards import PicturesSpec, write_picture_shards
from brain_diffusion_jax.data.sample_folder import SampleFolder
from brain_diffusion_jax.data.splits import SplitSpec
from brain_diffusion_jax.evaluation.condition_fidelity import block_means

SIZE, WORDS = 24, ("left", "right")


def picture(word: str, rng: np.random.Generator) -> np.ndarray:
    """A textured disc with a bright spot on one side, unit [SIZE, SIZE]."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    side = -0.2 if word == "left" else 0.2
    spot = np.exp(-((x - side - rng.normal(0, 0.02)) ** 2 + (y - rng.normal(0, 0.05)) ** 2) / 0.006)
    grain = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 0.9)
    disc = x**2 + y**2 < (0.42 + rng.normal(0, 0.01)) ** 2
    return np.clip(disc * (0.4 + 0.04 * grain / grain.std() + 0.35 * spot) + 0.02, 0, 1)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Shards of real pictures, and a folder of 30 new, 10 blurred and 10 wrongly labelled ones."""
    root, rng = tmp_path_factory.mktemp("gate"), np.random.default_rng(0)
    for word in WORDS:
        (root / "real" / word).mkdir(parents=True)
        for i in range(260):
            pixels = np.rint(255 * picture(word, rng)).astype(np.uint8)
            Image.fromarray(pixels).save(root / "real" / word / f"{i}.png")
    schema = Schema.from_json([{"name": "side", "values": WORDS}])
    spec = PicturesSpec(str(root / "real"), covariate="side", near_duplicate=0.9999, prep=PicturePrep(size=SIZE))
    split = SplitSpec(train=0.28, validation=0.5, test=0.22, stratify=("side",))
    contract, _ = write_picture_shards(root / "shards", spec, split, schema)
    words = [WORDS[i % 2] for i in range(50)]
    images = np.stack([picture(word, rng) for word in words])
    images[30:40] = ndimage.gaussian_filter(images[30:40], (0, 1.5, 1.5))
    words[40:] = [WORDS[1 - WORDS.index(word)] for word in words[40:]]
    folder = SampleFolder(root / "made", {"by": "test"}, contract)
    conditions = [{"side": word} for word in words]
    folder.write(0, images[..., None], conditions, seed=0, guidance_scale=1.0, columns=("side",), nifti=False)
    return root


@pytest.fixture
def classifier(monkeypatch):
    """A judge by hand in place of a trained run: which side is brighter."""

    def probabilities(images):
        rows = images[:, SIZE // 3 : -SIZE // 3]
        odds = 60 * (rows[:, :, 15:19].mean((1, 2, 3)) - rows[:, :, 5:9].mean((1, 2, 3)))
        right = 1 / (1 + np.exp(-odds))
        return np.stack([1 - right, right], 1)

    made = train_class.Classifier("by hand", 0, WORDS, (SIZE, SIZE), probabilities, block_means)
    monkeypatch.setattr(train_class, "load_classifier", lambda folder: made)


def arguments(root, out, source="made"):
    return ["gate", str(root / source), "--classifier", "run", "--shards", str(root / "shards"), "--out", str(out)]


def test_folder_is_sorted_with_reasons_and_measures(setting, classifier, tmp_path, capsys):
    assert main([*arguments(setting, tmp_path / "out"), "--batch", "40", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    with open(tmp_path / "out" / "verdicts.csv") as file:
        rows = list(csv.DictReader(file))
    rejected = np.array([row["verdict"] == "reject" for row in rows])
    assert rejected[30:].all()
    assert rejected[:30].mean() <= 0.15
    assert all("blurred" in row["reasons"] for row in rows[30:40])
    assert all("class" in row["reasons"] for row in rows[40:])
    assert all((row["reasons"] == "") == (row["verdict"] == "accept") for row in rows)
    assert summary["false_alarms_on_test"] <= 0.07
    before, after = summary["measures"]["before the gate"], summary["measures"]["after the gate"]
    assert after["fidelity"] == 1.0 > before["fidelity"]
    assert before["pictures"] == 50
    for name in ("accepted.png", "rejected.png"):
        assert Image.open(tmp_path / "out" / name).size[0] > SIZE
    assert json.loads((tmp_path / "out" / "gate.json").read_text())["accepted"] == int((~rejected).sum())


def test_unknown_class_full_folder_and_missing_manifest_are_refused(setting, classifier, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    assert main(arguments(setting, tmp_path / "full")) == 2
    assert "something already there" in capsys.readouterr().err
    folder = tmp_path / "foreign"
    (folder / "pictures").mkdir(parents=True)
    Image.fromarray(np.full((SIZE, SIZE), 90, np.uint8)).save(folder / "pictures" / "0.png")
    (folder / "manifest.csv").write_text("file,index,seed,guidance_scale,side\npictures/0.png,0,0,1.0,middle\n")
    assert main(["gate", str(folder), *arguments(setting, tmp_path / "out")[2:]]) == 2
    assert "'middle'" in capsys.readouterr().err
    (folder / "manifest.csv").write_text("file,index\npictures/0.png,0\n")
    assert main(["gate", str(folder), *arguments(setting, tmp_path / "out")[2:]]) == 2
    assert "a column 'side'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert command.__doc__
