"""`brain-diffusion demo`: which commands it runs, what it skips, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_diffusion_jax.cli import demo, main
from brain_diffusion_jax.config import demo_volumes, load_config, to_json


@pytest.fixture
def called(monkeypatch):
    """Commands in place of which their last word's file is made."""
    real, words = main.main, []

    def run(given: list[str], *, next_steps: bool = True) -> int:
        if given[0] == "demo":
            return real(given)
        assert not next_steps  # the demo goes on itself
        words.append(given[0])
        out = Path(given[-1] if given[0] != "phantom" else given[2])
        out.mkdir(parents=True, exist_ok=True)
        names = {"phantom": "participants.tsv", "prepare": "contract.json", "train-age": "age_report.json"}
        (out / names.get(given[0], "autoencoder_report.json" if given[0] == "train" else "report.html")).touch()
        return 75 if given[0] == "study" else 0

    monkeypatch.setattr(main, "main", run)
    return words


def test_stages_run_in_order_and_finished_ones_are_skipped(called, tmp_path, capsys):
    words = ["demo", "--out", str(tmp_path / "demo"), "--people", "12", "--steps", "5"]
    assert main.main(words) == 75  # of the study
    assert called == ["phantom", "prepare", "train", "train-age", "study"]
    assert f"$ brain-diffusion train {tmp_path}/demo/config.json --run" in capsys.readouterr().out
    assert load_config(tmp_path / "demo" / "config.json").train.num_steps == 5
    called.clear()
    assert main.main(words) == 0
    assert called == []
    assert main.main([*words, "--people", "13"]) == 2
    assert "begun with other settings" in capsys.readouterr().err


def test_volumes_pass_an_autoencoder_on_the_way(called, tmp_path, capsys):
    out = tmp_path / "demo"
    words = ["demo", "--volumes", "--out", str(out), "--people", "12", "--steps", "5"]
    assert main.main(words) == 75  # of the study
    assert called == ["phantom", "prepare", "train", "train", "train-age", "study"]
    printed = capsys.readouterr().out
    assert f"prepare {out}/volumes.json --measure volumes" in printed
    autoencoder, latent = (load_config(out / f"{name}.json", kind="") for name in ("autoencoder", "latent_diffusion"))
    assert (autoencoder.kind, latent.kind) == ("autoencoder", "latent_diffusion")
    assert autoencoder.data.shards == latent.data.shards == str(out / "shards")
    assert latent.codec.autoencoder == str(out / "autoencoder")
    assert (autoencoder.train.num_steps == 5, latent.train.num_steps) == (False, 5)
    called.clear()
    assert main.main(words) == 0
    assert called == []
    assert main.main(words[:1] + words[2:]) == 2  # slices into the folder of volumes
    assert "the same --volumes" in capsys.readouterr().err


def test_the_files_of_configs_are_those_of_the_demonstration():
    for name, wanted in {
        "demo": demo.demo_config(),
        "volumes": demo_volumes.volumes_config(),
        "autoencoder": demo_volumes.autoencoder_config(),
        "latent_diffusion": demo_volumes.latent_config(),
    }.items():
        assert to_json(load_config(Path("configs/phantom") / f"{name}.py")) == to_json(wanted)


def test_too_few_people_and_a_folder_in_use(called, tmp_path, capsys):
    assert main.main(["demo", "--out", str(tmp_path / "demo"), "--people", "11"]) == 2
    assert "12 or more" in capsys.readouterr().err
    (tmp_path / "thesis.tex").touch()
    assert main.main(["demo", "--out", str(tmp_path)]) == 2
    assert called == []


def test_configs_of_release_0_1_find_the_config_here():
    assert demo.demo_config().name == "phantom"
    with pytest.raises(AttributeError, match="demo_confg"):
        _ = demo.demo_confg
