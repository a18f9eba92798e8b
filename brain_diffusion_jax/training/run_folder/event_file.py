"""A TensorBoard event file, written at once by this thread: a full disk is an error of the run, not of a thread."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files


class EventFile:
    """run/events.out.tfevents.*, new at every start; its name cannot be foreseen.

    purge_step: TensorBoard hides what older files say of this step and later ones.
    """

    def __init__(self, run: str | Path, purge_step: int | None = None) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog

        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{secrets.token_hex(4)}"
        self._path = Path(run) / name
        self._file = files.open_to_append(self._path, binary=True)
        self._write(step=purge_step, file_version="brain.Event:2")
        if purge_step is not None:
            self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def _write(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c

        data = Event(wall_time=time.time(), **fields).SerializeToString()
        size = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", masked_crc32c(part)) for part in (size, data)]
        with files.naming(self._path):
            self._file.write(size + checks[0] + data + checks[1])
            self._file.flush()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        from tensorboardX import summary

        for name, value in values.items():
            self._write(step=step, summary=summary.scalar(name, value))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """image: uint8 [rows, cols] or [rows, cols, 3]."""
        from tensorboardX import summary

        layout = "HW" if image.ndim == 2 else "HWC"
        self._write(step=step, summary=summary.image(name, image, dataformats=layout))

    def close(self) -> None:
        self._file.close()
