"""`brain-diffusion train` on a cohort of ellipsoids: a run, what it leaves, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small_cohort
import small_training
from PIL import Image

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.training.run_folder import checkpoints, metrics


@pytest.fixture(scope="module")
def shard_folder(tmp_path_factory):
    return small_training.write_shards(tmp_path_factory.mktemp("train"))


@pytest.fixture
def base(tmp_path):
    return small_training.write_config(tmp_path)


def words(base, folder, *more):
    return ["train", str(base), f"data.shards={folder}", "--quiet", *small_training.OVERRIDES, *more]


@pytest.mark.slow  # a real UNet compiles for a minute on a busy machine
def test_a_run_from_shards_to_pictures(base, shard_folder, tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*words(base, shard_folder, "train.num_steps=2"), "--run", str(run)]) == 0
    assert "step 2" in capsys.readouterr().out
    assert [row["step"] for row in metrics.read_jsonl(run)] == [1, 2]
    assert np.isfinite(metrics.read_jsonl(run)[1]["validation_loss"])
    assert set(checkpoints.load_params(run)) >= {"unet", "conditioner"}
    assert checkpoints.read_contract(run).schema == small_cohort.SCHEMA
    picture = np.asarray(Image.open(run / "samples" / "step_0000002.png"))
    assert picture.ndim == 2
    assert picture.std() > 0
    assert main(["info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 2
    # The folder belongs to this network now.
    assert main([*words(base, shard_folder, "model.norm_num_groups=2"), "--run", str(run)]) == 2
    assert "model.norm_num_groups=2 (run: 4)" in capsys.readouterr().err


def test_refusals(base, shard_folder, tmp_path, capsys):
    def error(*more):
        assert main([*words(base, shard_folder, *more), "--run", str(tmp_path / "never")]) == 2
        return capsys.readouterr().err

    assert "images of the training split" in error("data.batch_size=400")
    assert "train.num_steps: found 0" in error("train.num_steps=0")
    assert "on_nan" in error("train.on_nan=pray")
    assert "a divisor of the 1 devices" in error("train.fsdp=2")
    assert not (tmp_path / "never").exists()
    assert main(["train", str(base)]) == 2
    assert "data.shards" in capsys.readouterr().err


def test_volumes_without_a_kind_are_refused_and_the_kinds_are_said(capsys):
    config = Path(__file__).parents[2] / "configs" / "oasis" / "volumes_2mm.py"
    for more in ([], ["--dry-run"]):  # it would be a model of slices, of three dimensions
        assert main(["train", str(config), *more]) == 2
        assert "kind: found none, and prepare.kind=volumes; expected a config of one" in capsys.readouterr().err
