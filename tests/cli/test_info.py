"""`brain-diffusion info`: what matters first, and everything with --all."""

from __future__ import annotations

import json

import tiny_runs

from brain_diffusion_jax.cli.main import main


def test_what_matters_stands_first(tmp_path, capsys):
    run = tiny_runs.bare_run(tmp_path / "run", "class", tiny_runs.CLASSES)
    assert main(["info", str(run)]) == 0
    short = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in short[:5]] == ["run", "steps", "checkpoints", "best", "speed"]
    assert any(line.startswith("contract     slices 14x12, kind") for line in short)
    assert "  class_model.width = 0.1" in short
    assert not any("class_model.validate_every" in line for line in short)  # a default
    assert main(["info", str(run), "--all"]) == 0
    whole = capsys.readouterr().out.splitlines()
    assert set(short[-3:]) <= set(whole)
    assert any("class_model.validate_every" in line for line in whole)
    assert main(["info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "class"


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err
