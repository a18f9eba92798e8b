"""Files are written whole or not at all, never through a link, and read with errors that name the place."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError


def _names(folder):
    return sorted(os.listdir(folder))


def _write_half(path):
    with files.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError


def _fill_half(out):
    with files.replacing_folder(out) as part:
        (part / "a").write_bytes(b"half")
        raise RuntimeError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    files.write_text(path, "old\n")
    with pytest.raises(RuntimeError):
        _write_half(path)
    assert path.read_bytes() == b"old\n"
    assert _names(path.parent) == ["a.txt"]


def test_a_link_is_replaced_and_never_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    path = tmp_path / "config.json"
    path.symlink_to(victim)
    files.write_json(path, {})
    assert victim.read_bytes() == b"mine"
    assert not path.is_symlink()
    path.unlink()
    path.symlink_to(victim)
    with pytest.raises(InputError, match="symbolic link"):
        files.open_to_append(path)


@pytest.mark.parametrize("name", ["n" * 250, "ü" * 120, "a"])
def test_any_name_that_the_file_system_takes_has_a_part_name(tmp_path, name):
    files.write_text(tmp_path / name, "x")
    assert _names(tmp_path) == [name]
    assert files.part_path(tmp_path / name) != files.part_path(tmp_path / name)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "deep" / "out"
    with pytest.raises(RuntimeError):
        _fill_half(out)
    assert _names(out.parent) == []
    out.mkdir()  # an empty folder is as good as none
    with files.replacing_folder(out) as part:
        (part / "a").write_text("whole", encoding="utf-8")
    assert _names(out.parent) == ["out"]
    assert _names(out) == ["a"]


def test_a_folder_in_use_a_file_and_a_link_are_no_place_for_a_new_folder(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("full", "file", "link"):
        with pytest.raises(InputError, match="output folder"), files.replacing_folder(tmp_path / name):
            raise AssertionError("the block must not run")


def test_parts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    code = """
        import os, signal
        from brain_diffusion_jax import files
        with files.replacing_folder("out") as part, files.replacing("a.txt") as file:
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, check=False)
    assert len(_names(tmp_path)) == 2
    with files.replacing_folder(tmp_path / "out"), files.replacing(tmp_path / "a.txt"):
        files.remove_leftovers(tmp_path)
        assert len(_names(tmp_path)) == 2
    assert _names(tmp_path) == ["a.txt", "out"]


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "out", tmp_path / ("n" * 300), tmp_path / "new" / ("n" * 300) / "a"):
        with pytest.raises(InputError, match=r"output.*can be written"):
            files.require_writable(path)
    files.require_writable(tmp_path / "new" / "out")
    files.require_writable(tmp_path)
    assert _names(tmp_path) == ["file"]


def test_arrays_and_pictures(tmp_path):
    from PIL import Image

    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    files.write_npy(tmp_path / "a.npy", grey)
    files.write_npz(tmp_path / "a.npz", x=grey)
    files.write_png(tmp_path / "a.png", grey)
    assert np.array_equal(np.load(tmp_path / "a.npy"), grey)
    assert np.array_equal(np.load(tmp_path / "a.npz")["x"], grey)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), grey)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a": 1', "broken JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[]", "list in JSON; expected an object"),
        (b"[" * 100_000, "nested"),
        (b'{"a": ' + b"9" * 5000 + b"}", "broken JSON"),
        (None, "no such file"),
    ],
)
def test_bad_json_names_file_and_reason(tmp_path, data, says):
    path = tmp_path / "config.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        files.read_json(path, "config")
    assert str(path) in str(caught.value)


def test_json_lines_keep_the_good_and_name_the_bad(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\n[3]\n{"step": 2}\n{"st')
    rows, complaints = files.read_json_lines(path)
    assert rows == [{"step": 1}, {"step": 2}]
    assert [c.split(": ")[1] for c in complaints] == ["line 2", "line 3"]  # the last was never finished
    files.write_json_lines(path, rows)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows
