"""Preparing many scans at once, each into its own part file; finished parts are never done twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from pathlib import Path
from typing import NamedTuple

from brain_diffusion_jax.data.prepare import pipeline
from brain_diffusion_jax.data.sources.cohort import Scan
from brain_diffusion_jax.errors import InputError


class Parts(NamedTuple):
    """parts: (scan, part file name), in the cohort's order; bad: (scan, reason) of dropped ones."""

    parts: list[tuple[Scan, str]]
    bad: list[tuple[str, str]]


def _prepare_one(path: str, target: str, preparation: pipeline.Preparation) -> tuple[InputError | None, list[str]]:
    """In a worker: (what is wrong with the scan, warnings)."""
    try:
        prepared = pipeline.prepare_volume(path, preparation)
    except InputError as error:
        return error, []
    pipeline.save_part(Path(target), prepared)
    return None, prepared.warnings


def _start_worker() -> None:
    """Let the parent alone decide what Ctrl-C means, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent tells nobody, but the pipe that it held open becomes readable.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)  # a part is whole or not there


def _whole(path: Path) -> bool:
    """A finished part; a damaged one is removed and done again."""
    if not path.exists():
        return False
    try:
        pipeline.load_part(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink()
        return False
    return True


def prepare_parts(
    scans: Sequence[Scan],
    preparation: pipeline.Preparation,
    folder: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None],
) -> Parts:
    """Prepare every scan into `folder`; parts that are there already are kept as they are.

    All scans are tried before a bad one is refused, so that one run names every bad file.
    """
    bad: dict[str, InputError] = {}
    names: dict[str, str] = {}
    for scan in scans:
        try:
            names[scan.scan] = pipeline.part_name(scan, preparation)
        except InputError as error:
            bad[scan.scan] = error
    for stale in folder.glob("*.part"):
        stale.unlink()
    todo = [scan for scan in scans if scan.scan in names and not _whole(folder / names[scan.scan])]
    done = len(scans) - len(todo)
    progress(done, len(scans))

    def took(scan: Scan, result: tuple[InputError | None, list[str]]) -> None:
        nonlocal done
        error, notes = result
        if error is not None:
            bad[scan.scan] = error
        for note in notes:
            warnings.warn(note, stacklevel=2)
        done += 1
        progress(done, len(scans))

    if workers <= 1 or len(todo) < 2:
        for scan in todo:
            took(scan, _prepare_one(str(scan.path), str(folder / names[scan.scan]), preparation))
    else:
        _in_pool(todo, names, preparation, folder, min(workers, len(todo)), took)
    if bad and preparation.bad_scans != "drop":
        first = next(iter(bad.values()))
        if len(bad) > 1:
            lines = "; ".join(str(error) for error in list(bad.values())[1:6])
            raise InputError(
                first.where,
                first.field,
                first.found,
                f"{first.expected} [{len(bad)} bad scans, also: {lines}], or prepare.bad_scans=drop",
            )
        raise InputError(first.where, first.field, first.found, f"{first.expected}, or prepare.bad_scans=drop")
    kept = [(scan, names[scan.scan]) for scan in scans if scan.scan not in bad]
    if not kept:
        first = next(iter(bad.values()))
        raise InputError(first.where, "scans", f"none of {len(scans)} could be prepared ({first})", "readable scans")
    return Parts(kept, [(name, f"bad scan: {error}") for name, error in bad.items()])


def _in_pool(todo, names, preparation, folder: Path, workers: int, took) -> None:
    # spawn: the parent may hold threads of JAX or gRPC, which fork would copy in a broken state.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        with _interrupts_held():  # or Ctrl-C would reach a worker before it can ignore it
            futures: dict[Future, Scan] = {
                pool.submit(_prepare_one, str(scan.path), str(folder / names[scan.scan]), preparation): scan
                for scan in todo
            }
        for future in as_completed(futures):
            took(futures[future], future.result())
    except BrokenProcessPool as error:
        raise InputError(
            "--workers",
            "worker",
            "a worker process died (out of memory, or a script without `if __name__ == '__main__'`)",
            "fewer workers; finished scans are kept",
        ) from error
    except BaseException:
        # At once: a worker at its scan would keep an interrupted call waiting, and a part is whole or not there.
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """SIGINT waits until the block ends; processes and threads started in it never see one."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which lifts the block where it starts inside
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
