"""`brain-diffusion phantom`: a folder in use is left alone. What it makes: test_inspect.py, data/phantoms."""

from __future__ import annotations

from brain_diffusion_jax.cli.main import main


def test_a_folder_in_use_and_no_people_are_refused(tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    assert main(["phantom", "--out", str(tmp_path), "--people", "1"]) == 2
    assert "something already there" in capsys.readouterr().err
    assert main(["phantom", "--out", str(tmp_path / "new"), "--people", "0"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
