"""`convert safetensors`: a run to a file with its card, and back."""

from __future__ import annotations

import jax
import numpy as np
import tiny_runs

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.training.run_folder import checkpoints


def test_a_run_comes_back_from_its_file(tmp_path, capsys):
    run, file, again = tiny_runs.bare_run(tmp_path / "run", "gan"), tmp_path / "gan.safetensors", tmp_path / "again"
    words = ["convert", "safetensors"]
    assert main([*words, str(run), "--out", str(file), "--card", str(tmp_path / "README.md")]) == 0
    assert f"written: {tmp_path / 'README.md'}" in capsys.readouterr().out
    assert "| gan.latent | 4 |" in (tmp_path / "README.md").read_text()
    assert main([*words, str(file), "--out", str(again)]) == 0
    jax.tree.map(np.testing.assert_array_equal, checkpoints.load_params(run), checkpoints.load_params(again))
    assert main([*words, str(file), "--out", str(again)]) == 2
    assert "already there" in capsys.readouterr().err
    assert main([*words, str(run), "--out", str(tmp_path / "other"), "--checkpoint", "7"]) == 2
    assert not (tmp_path / "other").exists()
