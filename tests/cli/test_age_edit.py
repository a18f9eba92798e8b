"""age-edit: no change of the condition is no edit; the audit says what changed; bad input is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_runs

from brain_diffusion_jax.api import edits
from brain_diffusion_jax.cli import main
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.prepare.pipeline import PreparedScan

PICTURE = np.random.default_rng(0).uniform(0.1, 0.9, tiny_runs.SIZE).astype(np.float32)
# What the age model's profile is asked about; slice 3 lies at -12 mm.
PREPARED = PreparedScan(np.stack([PICTURE] * 3), [2, 3, 4], [-32.0, -12.0, 8.0], Window(0, 1), tiny_runs.SIZE, [])


@pytest.fixture
def diffusion_run(tmp_path, monkeypatch):
    monkeypatch.setattr(edits, "prepare_scan", lambda model, scan, index: (PREPARED, 1))
    return tiny_runs.diffusion_run(tmp_path / "run")


def test_a_scan_is_edited_and_audited(diffusion_run, tmp_path, capsys, told):
    out = tmp_path / "out"
    words = ["age-edit", str(diffusion_run), "scan.nii.gz", "--set", "age=50", "sex=F", "--to", "50,90"]
    settings = ["--out", str(out), "--steps", "5", "--strength", "0.6", "--json"]
    assert main.main([*words, *settings]) == 0
    assert told == {"": [(done, 4) for done in range(5)]}  # the inversion, the unchanged image, two edits
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((out / "audit.json").read_text())
    assert report["truth"]["slice"] == 3
    assert report["reconstruction_largest_error"] < 2e-3  # exact inversion
    assert report["ssim_with_the_slice"][1] > 0.999  # 50 to 50 is no edit
    assert report["ssim_with_the_slice"][2] < 0.999  # 50 to 90 is one
    assert len(report["dark_fraction"]) == 3
    assert {p.name for p in out.glob("*.png")} == {
        "grid.png",
        "edited_age_same.png",
        "edited_age_50.png",
        "edited_age_90.png",
    }
    assert (out / "contract.json").exists()
    assert main.main([*words, *settings]) == main.EXIT_BAD_INPUT  # the folder already holds something
    for broken, expected in (
        (["--set", "sex=F"], "the true one"),
        (["--set", "age=50", "--covariate", "agee"], "age, sex, slice"),
        (["--set", "age=50,60"], "2 conditions; expected one"),
    ):
        assert main.main([*words[:3], *broken, "--to", "60", "--out", str(tmp_path / "other")]) == main.EXIT_BAD_INPUT
        assert expected in capsys.readouterr().err
    again = [*words[:-1], "1e29", "--out", str(tmp_path / "other"), *settings[2:]]
    with pytest.warns(UserWarning, match="extrapolating"):
        assert main.main(again) == main.EXIT_BAD_INPUT
    message = capsys.readouterr().err
    assert "NaN or infinity in 1 of 2 (the first for {" in message
    assert "'age': '1e29'" in message
    assert "'num_steps': 5" in message
    assert not (tmp_path / "other").exists()
