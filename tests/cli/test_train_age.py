"""train-age on tiny shards: report, files, fine-tuning with frozen layers, refusals."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

import brain_diffusion_jax as bdj
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes import input_checks, input_profile
from tests import small_cohort

SMALL = ["age_model.width=0.1", "age_model.batch_size=8", "age_model.num_steps=4", "age_model.validate_every=2"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("age")
    cohort = read_cohort(
        CohortSpec(layout="bids", root=str(small_cohort.write_bids(folder / "bids", 12))), small_cohort.SCHEMA
    )
    out = folder / "shards"
    split = SplitSpec(seed=1, train=0.5, validation=0.25, test=0.25)
    source = ScanSlices(cohort, Preparation(**small_cohort.PREPARE), small_cohort.SCHEMA)
    write_shards(out, source, split)
    return out


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "age"
    assert main(["train-age", "configs/base.py", f"data.shards={shards}", *SMALL, "--run", str(run), "--quiet"]) == 0
    return run


def test_the_report_holds_slices_people_bias_and_intervals(trained):
    report = json.loads((trained / "age_report.json").read_text())
    for split in ("validation", "test"):
        part = report[split]
        assert part["slices"] == 4 * part["scans"]
        for table in ("per_slice", "per_person", "per_person_corrected"):
            assert {"mae", "rmse", "r", "r2", "bias", "mse"} <= set(part[table])
        assert part["per_person"]["mae"]["value"] > 0
        assert part["bias_by_age"]
    with (trained / "age_people.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"validation", "test"}
    predicted = np.array([float(r["predicted"]) for r in rows if r["split"] == "test"])
    age = np.array([float(r["age"]) for r in rows if r["split"] == "test"])
    assert np.abs(predicted - age).mean() == pytest.approx(report["test"]["per_person"]["mae"]["value"], abs=2e-3)
    assert (trained / "age_calibration.png").stat().st_size > 5000


def test_the_run_keeps_what_its_inputs_look_like(trained, shards, tmp_path, monkeypatch):
    assert json.loads((trained / "age_report.json").read_text())["input_profile"] is False  # six people are too few
    assert not (trained / input_profile.FILE_NAME).exists()
    model = bdj.load(trained)
    assert "no input profile" in input_checks.check_shards(model, str(shards), "test")
    monkeypatch.setattr(input_profile, "FEWEST", 3)
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    model = bdj.load(run)
    assert input_checks.write_profile(model, str(shards))
    profile = input_profile.load_profile(run)
    manifest = json.loads((shards / "shards.json").read_text())["splits"]
    scans = {name: sum(int(f["records"]) for f in manifest[name]) // 4 for name in ("train", "validation", "test")}
    assert len(profile.table) == scans["train"] + scans["validation"]
    assert profile.held_out.sum() == scans["validation"]
    assert profile.indices.tolist() == [7, 8, 9, 10]
    *_, images, indices = next(input_checks.scans_of(str(shards), "train"))
    assert input_checks.unlike(model, images, indices) == []
    assert input_checks.unlike(model, images // 2, indices)
    # Real scans that a study or `evaluate` measures on: a remark, or a refusal where most are unlike.
    departure, count = input_profile.Departure("place", 2.0, "middle row"), iter(range(99))
    monkeypatch.setattr(input_checks, "unlike", lambda *_: [departure] if next(count) == 0 else [])
    assert "1 of" in input_checks.check_shards(model, str(shards), "test")
    assert input_checks.check_shards(model, str(shards), "test") is None
    monkeypatch.setattr(input_checks, "unlike", lambda *_: [departure])
    with pytest.raises(InputError, match="middle row"):
        input_checks.check_shards(model, str(shards), "test")


def test_the_model_knows_the_ages_it_was_trained_on(trained, shards):
    model = bdj.load(trained)
    assert model.kind == "age"
    assert 20 <= model.config.age_model.target_mean <= 80
    images = np.zeros((2, *model.contract.image_size, 1), np.float32)
    assert model.predict(images).shape == (2,)


def test_fine_tuning_keeps_the_network_and_what_is_frozen(trained, shards, tmp_path):
    run = tmp_path / "tuned"
    changes = [f"age_model.pretrained={trained}", "age_model.frozen=('conv0','norm0')", "age_model.weight_decay=0"]
    assert (
        main(
            [
                "train-age",
                "configs/base.py",
                f"data.shards={shards}",
                *SMALL[1:],
                *changes,
                "--run",
                str(run),
                "--quiet",
            ]
        )
        == 0
    )
    before, after = bdj.load(trained), bdj.load(run)
    assert after.config.age_model.width == before.config.age_model.width
    kernels = [m.params["params"]["trunk"]["conv0"]["kernel"] for m in (before, after)]
    np.testing.assert_array_equal(*kernels)
    moved = [m.params["params"]["trunk"]["conv1"]["kernel"] for m in (before, after)]
    assert not np.array_equal(*moved)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["age_model.loss=distribution"], "age_model.bins"),
        (["age_model.frozen=('conv0',)"], "age_model.weight_decay"),
        (["age_model.backbone=vgg19"], "vgg16"),
        (["age_model.target=sex"], "continuous"),
        (["data.shards="], "data.shards"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, says, shards, tmp_path, capsys):
    words = ["train-age", "configs/base.py", f"data.shards={shards}", *SMALL, *changes, "--run", str(tmp_path / "r")]
    assert main(words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "r" / "checkpoints").exists()
