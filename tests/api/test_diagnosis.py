"""doctor: what a machine has, without saying whose it is."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
from pathlib import Path

from brain_diffusion_jax.api import diagnosis
from brain_diffusion_jax.cli import main


def test_versions_devices_and_a_step_that_works(capsys):
    assert main.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert re.match(r"\d+\.\d+", found["versions"]["jax"])
    assert found["devices"][0]["platform"] == "cpu"
    assert found["cores"] >= 1
    assert found["step"]["finite"]
    assert found["step"]["compile_s"] > 0


def test_it_says_nothing_about_whose_machine_it_is(capsys):
    assert main.main(["doctor", "--no-step", "--json"]) == 0
    said = capsys.readouterr().out
    assert "step" not in json.loads(said)
    private = {os.path.expanduser("~"), os.getcwd(), platform.node(), getpass.getuser()} - {"", "/"}
    assert not [word for word in private if re.search(rf"\b{re.escape(word)}\b", said)]


def test_what_is_missing_and_what_is_wrong_is_said(monkeypatch, capsys):
    monkeypatch.setitem(diagnosis.EXTRAS, "beam", ("no_such_module",))
    monkeypatch.setattr(diagnosis, "_timed_step", lambda: {"compile_s": 1.0, "run_ms": 2.0, "finite": False})
    assert main.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert 'beam (no_such_module): pip install "brain-diffusion-jax[beam]"' in said
    assert "WRONG" in said
    assert diagnosis._version("no-such-library") is None


def test_extras_are_those_of_setup_py():
    declared = re.findall(r'^        "(\w+)": \[', (Path(__file__).parents[2] / "setup.py").read_text(), re.MULTILINE)
    assert {*diagnosis.EXTRAS, "test", "docs"} == set(declared)  # these two are for who works on the project
