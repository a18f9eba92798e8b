"""`brain-diffusion train --dry-run`: an estimate, a compilation for this machine or a pod, and what is refused."""

from __future__ import annotations

import importlib.util
import json

import pytest
import small_training

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.plan import parse_mesh
from brain_diffusion_jax.training.settings import TrainSettings

CLASSES = "covariates=({'name': 'kind', 'values': ('round', 'square')},)"
SIZE = "prepare.fit.size=(16,12)"
SMALL = ("class_model.backbone=small_cnn", "class_model.width=0.1", "class_model.dense=(4,)", CLASSES, SIZE)


@pytest.fixture
def base(tmp_path):
    return str(small_training.write_config(tmp_path))


@pytest.fixture
def error(base, capsys):
    def refused(*more: str) -> str:
        assert main(["train-class", base, *SMALL, *more]) == 2
        return capsys.readouterr().err

    return refused


def test_an_estimate_needs_no_devices(base, capsys):
    options = ["--dry-run", "--mesh", "8x4", *small_training.OVERRIDES, "data.batch_size=64", "--json"]
    assert main(["train", base, *options]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["mesh"] == "8 x 4"
    assert plan["parameters"] > 1000
    with pytest.raises(InputError, match="--mesh"):
        parse_mesh("eight", TrainSettings())


def test_a_compilation_for_this_machine(base, capsys):
    words = ["train-class", base, *SMALL, "class_model.batch_size=8", "--dry-run", "--compile"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["chips"], found["batch_size"], found["mesh"]) == (1, 8, {"data": 1, "fsdp": 1})
    assert found["memory_bytes"]["total"] > found["estimate"]["state_bytes"]
    assert found["memory_bytes"]["limit"] is found["fits"] is None  # a CPU does not say what it has
    assert found["collectives"] == []
    assert found["flops_per_chip"] > 0


def test_options_that_stand_alone_are_refused(error):
    assert "--topology: found no --dry-run" in error("--topology", "v5e:2x4")
    assert "--mesh: found no --dry-run" in error("--mesh", "8x1")
    assert "--fit: found an estimate" in error("--dry-run", "--fit")
    assert "--compile: found --topology" in error("--dry-run", "--compile", "--topology", "v5e:2x4")


def test_what_this_machine_cannot_be_compiled_for_is_refused(error):
    assert "multiply to the 1 devices of this machine, such as 1x1" in error("--dry-run", "--compile", "--mesh", "3x1")
    assert "memory is not known" in error("--dry-run", "--compile", "--fit")
    assert "train.parallelism: found pmap" in error("--dry-run", "--compile", "train.parallelism=pmap")


def test_without_the_extra_its_name_is_told(error, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    assert 'pip install "brain-diffusion-jax[tpu]"' in error("--dry-run", "--topology", "v5e:2x4")


@pytest.mark.tpu
def test_a_compilation_for_a_pod(base, error, capsys):
    pytest.importorskip("libtpu", reason="the extra `tpu` is not installed")
    pod = ("--dry-run", "--topology", "v5e:2x4")
    assert "class_model.batch_size: found 12; expected a multiple of 8" in error(*pod, "class_model.batch_size=12")
    assert "multiply to the 8 devices of v5e:2x4, such as 8x1" in error(*pod, "--mesh", "8x2")
    words = ["train-class", base, *SMALL, *pod, "--mesh", "4x2", "class_model.batch_size=64"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["chips"], found["mesh"]) == (8, {"data": 4, "fsdp": 2})
    assert found["fits"] is True
    assert found["memory_bytes"]["total"] < found["memory_bytes"]["limit"]
    assert {one["kind"] for one in found["collectives"]} >= {"all-reduce"}
    assert found["versions"]["libtpu"]
