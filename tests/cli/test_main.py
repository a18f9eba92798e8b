"""The one place where errors become a line and an exit status."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
import types

import pytest

from brain_diffusion_jax.cli import main as cli


@pytest.fixture
def command(monkeypatch):
    """command(function): `brain-diffusion info` runs it."""

    def install(run):
        module = types.ModuleType("brain_diffusion_jax.cli.made_up")
        module.add_arguments = lambda parser: None
        module.run = run
        monkeypatch.setitem(sys.modules, "brain_diffusion_jax.cli.made_up", module)
        monkeypatch.setitem(cli.COMMANDS, "info", ("made_up", "made up"))

    return install


def _raising(error):
    def run(arguments: argparse.Namespace) -> int:
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


@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
def test_what_a_terminal_does_not_know_is_shown_escaped(tmp_path, locale):
    folder = tmp_path / "Zo\u00eb \u2192"
    folder.mkdir()
    (folder / "config.json").write_text("[", encoding="utf-8")
    env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = _run(["info", os.fsencode(folder)], env, stdout=subprocess.PIPE)
    assert found.returncode == 2
    assert b"broken JSON" in found.stderr
    assert b"Traceback" not in found.stderr


def test_a_user_without_a_home(monkeypatch, command):
    import pwd

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", _raising(KeyError("uid")))
    from brain_diffusion_jax.training import compile_cache

    assert compile_cache.enable() == ""
    command(lambda arguments: 0 if os.path.isdir(os.path.expanduser("~")) else 1)
    assert cli.main(["info"]) == 0
    assert "HOME" not in os.environ
