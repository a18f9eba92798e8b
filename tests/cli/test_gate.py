"""`brain-diffusion gate` on a folder of pictures: verdicts, sheets, measures, bad input."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_runs
from PIL import Image
from scipy import ndimage

from brain_diffusion_jax import api
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.api import evaluations
from brain_diffusion_jax.cli import gate as command
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare.picture_prep import PicturePrep
from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures
from brain_diffusion_jax.data.shards.loader import read_all
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.data.sources.image_source import PicturesSpec, open_images
from brain_diffusion_jax.evaluation.probes.pixel_probe import block_means

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
    contract = write_shards(root / "shards", open_images(spec, schema), split)
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

    made = SimpleNamespace(
        name="by hand",
        column=0,
        covariate="side",
        words=WORDS,
        image_size=(SIZE, SIZE),
        probabilities=probabilities,
        features=block_means,
        config=configs.base_config(),
    )
    load = api.load
    for module in (api, evaluations):
        monkeypatch.setattr(
            module, "load", lambda run, kind, **options: made if kind == "class" else load(run, kind, **options)
        )


def arguments(root, out, source="made"):
    return ["gate", str(root / source), "--classifier", "run", "--shards", str(root / "shards"), "--out", str(out)]


def test_folder_is_sorted_with_reasons_and_measures(setting, classifier, tmp_path, capsys):
    assert main([*arguments(setting, tmp_path / "out"), "--batch", "40", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    with open(tmp_path / "out" / "verdicts.csv", encoding="utf-8") as file:
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


def test_self_test_says_what_is_found_on_these_pictures(setting, classifier, tmp_path, capsys, told):
    command = ["gate", "--self-test", *arguments(setting, tmp_path / "out")[2:], "--partitions", "2"]
    assert main(command) == 0
    assert told["partitions"] == [(0, 2), (1, 2), (2, 2)]
    images = [done for done, _ in told["images"]]
    assert images == sorted(images)
    assert {total for _, total in told["images"]} == {images[-1]}
    assert "| wrong class | 100.0 %" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "gate.json").read_text())["self_test"]
    assert found["blur, sigma 1.5 pixels"]["rejected"] >= 0.95 <= found["copies"]["rejected"]
    assert found["real, held out"]["rejected"] <= 0.1
    assert main([*command[:-2], "--out", str(tmp_path / "other"), str(setting / "made")]) == 2
    assert "one of them" in capsys.readouterr().err


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


@pytest.mark.parametrize("kind", ["diffusion", "gan"])
def test_a_run_folder_draws_its_own_pictures_of_every_class(setting, classifier, tmp_path, capsys, kind):
    run = getattr(tiny_runs, f"{kind}_run")(tmp_path / kind, given=Contract.load(setting / "shards"))
    command = [*arguments(setting, tmp_path / "out", run), "--per-class", "3", "--json"]
    assert main(command) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["pictures"] == 6
    with open(tmp_path / "out" / "verdicts.csv", encoding="utf-8") as file:
        assert [row["asked"] for row in csv.DictReader(file)] == ["left"] * 3 + ["right"] * 3
    assert Image.open(tmp_path / "out" / "rejected.png").size[0] > SIZE
    if kind == "gan":
        command[command.index("--out") + 1] = str(tmp_path / "again")
        assert main([*command, "--guidance", "3"]) == 2
        assert "guidance_scale" in capsys.readouterr().err


def test_evaluate_puts_folders_their_gated_parts_and_the_floor_in_one_table(
    setting, classifier, tmp_path, capsys, told
):
    images, _ = read_pictures(setting / "made")
    free = SampleFolder(tmp_path / "free", {"by": "test"}, Contract.load(setting / "shards"))
    free.write(0, images, [{}] * len(images), seed=0, guidance_scale=None, columns=("side",), nifti=False)
    command = ["evaluate", str(setting / "made"), str(tmp_path / "free"), "--data", str(setting / "shards")]
    command += ["--classifier", "run", "--bootstrap", "8"]
    assert main([*command, "--gate", "--out", str(tmp_path / "table"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    table = found["rows"]
    assert list(table) == ["real, validation", "made", "free", "made, gated", "made, as many ungated"]
    assert told == {"gate": [(n, 3) for n in range(4)], "measures": [(n, 5) for n in range(6)]}
    assert table["made, gated"]["fidelity"] == 1.0 > table["made"]["fidelity"] == pytest.approx(0.8)
    assert table["made, gated"]["pictures"] == table["made, as many ungated"]["pictures"]
    assert np.array(table["made"]["confusion"]).sum() == 50
    low, high = table["made"]["intervals"]["fidelity"]
    assert 0.6 < low < 0.8 < high < 1
    # Nothing was asked of these: measured as a whole, and no gate could judge their class.
    assert (table["free"]["fidelity"], table["free"]["confusion"]) == (None, None)
    assert table["free"]["frechet"] == pytest.approx(table["made"]["frechet"], rel=0.3)
    assert found["pass the gate"]["real, test"] > 0.9
    assert "| made, gated |" in (tmp_path / "table" / "classes.md").read_text()
    assert Image.open(tmp_path / "table" / "made.png").size[0] > SIZE
    assert main([*command[:3], *command[3:5], "--bootstrap", "8"]) == 2
    assert "one, or --classifier" in capsys.readouterr().err
    assert main([*command, "--age-model", "x"]) == 2
    assert "--age-model" in capsys.readouterr().err


def test_sample_asks_for_what_real_pictures_show(setting, tmp_path):
    contract = Contract.load(setting / "shards")
    command = ["--people", "test", "--data", str(setting / "shards"), "--out"]
    assert (
        main(["sample", str(tiny_runs.gan_run(tmp_path / "gan", given=contract)), *command, str(tmp_path / "a")]) == 0
    )
    _, rows = read_pictures(tmp_path / "a")
    real = read_all(setting / "shards", "test")
    assert [row["side"] for row in rows] == [WORDS[int(v)] for v in real["values"][:, 0]]
    run = tiny_runs.gan_run(tmp_path / "free", "gan.conditional=False", given=contract)
    assert main(["sample", str(run), *command, str(tmp_path / "b")]) == 0
    assert {row["side"] for row in read_pictures(tmp_path / "b")[1]} == {""}
    assert main(["sample", str(run), "--set", "side=left", *command, str(tmp_path / "c")]) == 2
