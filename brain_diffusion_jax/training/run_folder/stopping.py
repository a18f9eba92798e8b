"""Reasons to stop: signals, and another run in the same folder."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError

logger = logging.getLogger(__name__)
EXIT_INTERRUPTED = 130  # Ctrl-C
EXIT_PREEMPTED = 75  # EX_TEMPFAIL: saved after SIGTERM; launchers start the same command again
INTERRUPTED, PREEMPTED = "interrupted", "preempted"


class Signals:
    """Within it, SIGINT and SIGTERM set `reason`; a second SIGINT raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.reason = ""
        self._old: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self.reason == INTERRUPTED:
            raise KeyboardInterrupt
        self.reason = INTERRUPTED if number == signal.SIGINT else PREEMPTED

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def lock(run: str | Path, hold: bool = True) -> Iterator[None]:
    """Hold run/lock; a second run in the folder is refused, the lock of a dead one is not in the way.

    Refused too is a folder with links in it, through which training would write elsewhere.

    The kernel drops the lock with its process, so a file left by a killed run holds nobody up.
    hold: False for the processes of a job after its first, which holds it for all.
    """
    if not hold:
        yield
        return
    path = Path(run) / "lock"
    files.require_plain_tree(run, "run folder")
    with files.open_to_append(path) as file:
        try:
            files.lock(file)
        except BlockingIOError:
            file.seek(0)
            raise InputError(path, "run folder", f"in use by {file.read().strip()}", "no other run in it") from None
        except OSError as error:
            logger.warning("%s: %s: start no second run in this folder", path, error.strerror or error)
        file.truncate(0)
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with files.naming(path):
            file.write(json.dumps(owner))
            file.flush()
        yield
        file.truncate(0)
