"""What version 0.1 wrote still opens, answers as it did, and goes on (tests/released/make.py made the files)."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import brain_diffusion_jax as bdj
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.config import load_config
from brain_diffusion_jax.config.defaults import reads_of

HERE = Path(__file__).parent / "released"
sys.path.insert(0, str(HERE))
import make  # noqa: E402

CONFIGS = sorted((HERE / "configs").glob("*.py"))


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(HERE / "v0.1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_models_answer_as_they_did(released: Path, monkeypatch) -> None:
    monkeypatch.chdir(released)
    found = make.answers()
    with np.load("expected.npz") as expected:
        assert sorted(found) == sorted(expected)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("kind", make.SMALL)
def test_an_interrupted_run_goes_on_to_the_losses_of_one_that_was_not(released: Path, kind: str, monkeypatch) -> None:
    monkeypatch.chdir(released)
    run = f"interrupted/{kind}"
    # 0.1 took settings that nobody reads; now they are refused.
    shared = [word for word in make.SHARED if word.partition("=")[0] in reads_of(kind)]
    assert main([make.COMMANDS[kind], "config.py", *shared, *make.SMALL[kind], "--quiet", "--run", run]) == 0
    rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    with np.load("expected.npz") as expected:
        np.testing.assert_allclose(losses, expected[f"losses_{kind}"], rtol=1e-4)


@pytest.mark.parametrize("kind", make.SMALL)
def test_info_reads_a_run(released: Path, kind: str, capsys) -> None:
    assert main(["info", str(released / "runs" / kind)]) == 0
    assert kind in capsys.readouterr().out


def test_a_study_renders_again(released: Path) -> None:
    from brain_diffusion_jax.evaluation.report import report
    from brain_diffusion_jax.evaluation.study.study_result import StudyResult

    result = StudyResult.load(released / "study")
    page = report.write_report(result, released / "again").read_text(encoding="utf-8")
    for name in ("FD[small_cnn-pool]", "SSIM", "w=3"):
        assert name in page


def test_shards_open(released: Path) -> None:
    from brain_diffusion_jax.data.shards import reader

    source = reader.open_split(released / "shards", "train")
    assert source.batch([0])["image"].shape == (1, 16, 12, 1)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_files_load(path: Path) -> None:
    config = load_config(path, ["train.num_steps=5"])
    assert config.train.num_steps == 5
    assert bdj.__version__
