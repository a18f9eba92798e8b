"""Preparing many scans at once, each into its own part file; finished parts are never done twice."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from brain_diffusion_jax.data import pipeline
from brain_diffusion_jax.data.cohort import Scan
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


def _ignore_interrupt() -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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
    names = {scan.scan: pipeline.part_name(scan, preparation) for scan in scans}
    for stale in folder.glob("*.part"):
        stale.unlink()
    todo = [scan for scan in scans if not _whole(folder / names[scan.scan])]
    bad: dict[str, InputError] = {}
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
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    try:
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
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
