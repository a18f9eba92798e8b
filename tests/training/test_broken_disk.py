"""Folders from strangers and full disks: nothing outside is touched, nothing written is lost, training goes on."""

from __future__ import annotations

import errno
import os
import struct

import numpy as np
import pytest
import tiny

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder import checkpoints, event_file, metrics

run = tiny.train


@pytest.mark.parametrize(
    "name", ["lock", "metrics.jsonl", "config.json", "contract.json", "checkpoints", "samples/step_1.png", "log.txt"]
)
def test_training_never_writes_through_links(tmp_path, name):
    victim = tmp_path / "mine"
    victim.mkdir() if name == "checkpoints" else victim.write_bytes(b"precious")
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    with pytest.raises(InputError, match=f"{name}.*symbolic link to .*mine"):
        run(tmp_path / "run")
    assert victim.is_dir() or victim.read_bytes() == b"precious"
    assert os.listdir(tmp_path / "run") == [name.split("/")[0]]


def test_a_pipe_in_a_run_folder_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / metrics.JSONL)
    with pytest.raises(InputError, match="no plain file"):
        run(tmp_path)


def test_training_goes_on_after_the_disk_was_full(tmp_path, monkeypatch):
    write = metrics.MetricsWriter.write

    def until_step_6(self, step, values):
        if step == 6:
            self._file.close()
            self._file = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115
        write(self, step, values)

    monkeypatch.setattr(metrics.MetricsWriter, "write", until_step_6)
    with pytest.raises(OSError, match="No space left") as error:
        run(tmp_path, num_steps=8)
    assert error.value.filename == str(tmp_path / metrics.JSONL)
    monkeypatch.undo()
    assert run(tmp_path, num_steps=8).step == 8
    assert [row["step"] for row in metrics.read_jsonl(tmp_path)] == list(range(1, 9))
    assert checkpoints.saved_steps(tmp_path) == [4, 8]


def test_bad_bytes_in_the_metrics_cost_a_warning_and_are_kept(tmp_path, caplog):
    path = tmp_path / metrics.JSONL
    damaged = b'{"step": 1}\n\xff{"step": 2}\n{"step": "x"}\n{"step": 4}\n'
    path.write_bytes(damaged)
    writer = metrics.MetricsWriter(tmp_path, 4)
    writer.write(5, {"loss": 0.5})
    writer.close()
    assert [row["step"] for row in metrics.read_jsonl(tmp_path)] == [1, 4, 5]
    assert "line 2: byte 0 is not UTF-8 (left out)" in caplog.text
    assert path.with_suffix(".damaged").read_bytes() == damaged


def test_a_failed_write_leaves_what_was_there_and_names_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write_text(tmp_path / "a", "old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        files.write_text(tmp_path / "a", "new")
    assert error.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def _events(path):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    data = path.read_bytes()
    while data:
        (size,), (check,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        assert check == masked_crc32c(data[:8])
        record = data[12 : 12 + size]
        assert struct.unpack("<I", data[12 + size : 16 + size]) == (masked_crc32c(record),)
        yield Event.FromString(record)
        data = data[16 + size :]


def test_event_files_are_what_tensorboard_reads(tmp_path):
    board = event_file.EventFile(tmp_path, purge_step=5)
    board.scalars(5, {"loss": 0.5})
    board.image(5, "samples", np.zeros((4, 6), np.uint8))
    board.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    first, start, scalar, image = _events(path)
    assert first.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (5, 1)
    assert (scalar.step, scalar.summary.value[0].tag, scalar.summary.value[0].simple_value) == (5, "loss", 0.5)
    assert image.summary.value[0].image.height == 4
