"""The one place where errors become a line and an exit status."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import types
import warnings

import pytest

from brain_diffusion_jax.cli import main as cli
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder import stopping


@pytest.fixture
def command(monkeypatch):
    """command(function): `brain-diffusion info` runs it."""

    def install(run):
        module = types.ModuleType("brain_diffusion_jax.cli.made_up")
        module.Options = dataclasses.make_dataclass("Options", [])
        module.run = run
        monkeypatch.setitem(sys.modules, "brain_diffusion_jax.cli.made_up", module)
        monkeypatch.setitem(cli.COMMANDS, "info", ("made_up", "made up"))

    return install


def _raising(error):
    def run(options: object) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/a/x.npy"), "runs/a/x.npy: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "file/out"), "file/out: Not a directory"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe"),  # a worker's, not the terminal's
        (MemoryError("Unable to allocate 9 EiB"), "out of memory Unable to allocate 9 EiB"),
        (MemoryError(), "out of memory"),
    ],
)
def test_disk_and_memory_are_one_line(command, capfd, error, says):
    command(_raising(error))
    assert cli.main(["info"]) == 2
    assert capfd.readouterr().err == f"brain-diffusion info: error: {says}\n"


def _run(words, env=None, **settings):
    code = "import sys; from brain_diffusion_jax.cli.main import main; sys.exit(main())"
    merged = {**os.environ, **(env or {})}
    return subprocess.run([sys.executable, "-c", code, *words], env=merged, stderr=subprocess.PIPE, **settings)


@pytest.mark.parametrize(("words", "unbuffered"), [([], ""), ([], "1"), (["info", "--help"], "")])
def test_a_closed_pipe_ends_a_command_quietly(words, unbuffered):
    read, write = os.pipe()
    os.close(read)
    found = _run(words, {"PYTHONUNBUFFERED": unbuffered}, stdout=write)
    os.close(write)
    assert (found.returncode, found.stderr) == (141, b"")


def test_a_full_device_behind_stdout_is_told():
    with open("/dev/full", "wb") as full:
        found = _run([], stdout=full)
    assert found.returncode == 2
    assert found.stderr == b"brain-diffusion: error: No space left on device\n"


@pytest.mark.parametrize("terminal", ["", "latin-1"])
def test_what_a_terminal_does_not_know_is_shown_escaped(tmp_path, terminal):
    folder = tmp_path / "Zo\u00eb \u2192"
    folder.mkdir()
    (folder / "config.json").write_text("[", encoding="utf-8")
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": terminal}
    found = _run(["info", os.fsencode(folder)], env, stdout=subprocess.PIPE)
    assert found.returncode == 2
    assert b"broken JSON" in found.stderr
    assert b"Traceback" not in found.stderr


def test_a_user_without_a_home(monkeypatch, command):
    import pwd

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", _raising(KeyError("uid")))
    from brain_diffusion_jax.training.devices import compile_cache

    assert compile_cache.enable() == ""
    command(lambda options: 0 if os.path.isdir(os.path.expanduser("~")) else 1)
    assert cli.main(["info"]) == 0
    assert "HOME" not in os.environ


def test_a_warning_is_a_line_without_its_place_in_the_program(monkeypatch, command, capsys):
    # As Python prints it; pytest takes warnings away before.
    monkeypatch.setattr(warnings, "showwarning", lambda *given: sys.stderr.write(warnings.formatwarning(*given[:4])))

    def run(options: object) -> int:
        for category in (UserWarning, RuntimeWarning):
            warnings.showwarning("slice: far off", category, "model.py", 154)
        return 0

    command(run)
    before = warnings.formatwarning
    assert cli.main(["info"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "warning: slice: far off"
    assert said[1].startswith("model.py:154: RuntimeWarning: slice: far off")  # whoever mends a library asks
    assert warnings.formatwarning is before


def test_a_missing_option_is_answered_in_one_line(capsys):
    assert cli.main(["gate", "pictures"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("brain-diffusion gate: error: ")
    assert "--classifier" in said


def test_a_condition_without_set_is_told_where_it_stands(capsys):
    assert cli.main(["sample", "runs/a", "age=70", "sex=F"]) == 2
    assert "conditions stand behind --set, as in --set age=70 sex=F" in capsys.readouterr().err
    assert cli.main(["sample", "runs/a", "--stpes=3"]) == 2
    assert "--set" not in capsys.readouterr().err


_UNDER_ASCII = r"""
import sys
from pathlib import Path
import small_cohort
from brain_diffusion_jax.evaluation.report import age_tables
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.evaluation.report import report
from brain_diffusion_jax.evaluation.study.study_result import Row, StudyResult

out = Path(sys.argv[1])
ages = {"true_age": None, "age": 50.0, "spread": 1.0, "mean": 50.0, "slices": [1, 2], "ages": [49.0, 51.0]}
age_tables.write(out / "ages", [{"name": out.name, "path": str(out), **ages, "notes": ["\u2192"], "refused": ""}])
small_cohort.write_bids(out / "bids", 2)
assert main(["inspect", str(out / "bids"), "--out", str(out / "look")]) == 0
study = StudyResult(out.name, {}, [Row("real \u2192", None, 1, 1)])
report.write_report(study, out)
study.save(out)
assert StudyResult.load(out).rows == study.rows
"""


def test_files_are_utf8_under_an_ascii_locale(tmp_path):
    folder = tmp_path / "Zo\u00eb"
    folder.mkdir()
    tests = os.path.dirname(os.path.dirname(__file__))
    path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": path}
    found = subprocess.run([sys.executable, "-c", _UNDER_ASCII, os.fsencode(folder)], env=env, stderr=subprocess.PIPE)
    assert found.returncode == 0, found.stderr.decode()
    assert "Zo\u00eb" in (folder / "ages" / "ages.csv").read_text(encoding="utf-8")
    assert "Zo\u00eb" in (folder / "look" / "scans.csv").read_text(encoding="utf-8")
    assert "Zo\u00eb" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["file/out", "n" * 300, "new/" + "n" * 300])
@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in ("info", "doctor", "publish")])
def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys, name, place):
    (tmp_path / "file").touch()
    out = str(tmp_path / place)
    words = {
        "phantom": ["--people", "1"],
        "predict-age": ["run"],
        "gate": ["pictures", "--classifier", "run", "--shards", "shards"],
        "age-edit": ["run", "scan", "--to", "60"],
    }
    name, *kind = name.split()
    if name.startswith("train"):
        with pytest.raises((InputError, OSError)) as error, stopping.lock(out):
            raise AssertionError
        assert "n" * 300 in str(error.value) or "file" in str(error.value)
        return
    assert cli.main([name, *kind, *words.get(name, ["x"] if name != "demo" else []), "--out", out]) == 2
    error = capsys.readouterr().err
    assert "--out: found" in error, error
    assert "can be written" in error
    assert os.listdir(tmp_path) == ["file"]
