"""Preparing many entries of a source at once, each into its own part file; finished parts are never done twice."""

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

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.data.prepare.intensity import Window
from brain_diffusion_jax.data.sources.source import Entry, Examples, Source
from brain_diffusion_jax.errors import InputError

_SUPPLIED = "supplied "  # before the names of these arrays


class Parts(NamedTuple):
    """parts: (entry, part file name), in the source's order; bad: (id, reason) of dropped ones."""

    parts: list[tuple[Entry, str]]
    bad: list[tuple[str, str]]


def save_part(path: Path, examples: Examples) -> None:
    """Write a part, complete or not at all."""
    files.write_npz(
        path,
        images=examples.images,
        indices=np.asarray(examples.indices, np.int32),
        window=np.asarray(examples.window, np.float64),
        notes=np.asarray(examples.notes, np.str_),
        **{f"{_SUPPLIED}{name}": values for name, values in examples.supplied.items()},
    )


def load_part(path: Path) -> Examples:
    """A part as `save_part` wrote it; its zip checksums are verified by reading."""
    with np.load(path, allow_pickle=False) as items:
        return Examples(
            items["images"],
            items["indices"],
            {name.removeprefix(_SUPPLIED): items[name] for name in items.files if name.startswith(_SUPPLIED)},
            Window(*(float(v) for v in items["window"])),
            [str(v) for v in items["notes"]],
        )


def _prepare_one(source: Source, entry: Entry, target: Path) -> tuple[InputError | None, Sequence[str]]:
    """(what is wrong with the entry, notes)."""
    try:
        examples = source.prepare(entry)
    except InputError as error:
        return error, []
    save_part(target, examples)
    return None, examples.notes


_source_of_worker: Source


def _prepare_in_worker(entry: Entry, target: Path) -> tuple[InputError | None, Sequence[str]]:
    return _prepare_one(_source_of_worker, entry, target)


def _start_worker(source: Source) -> None:
    """Let the parent alone decide what Ctrl-C means, and end with it, however it ends."""
    global _source_of_worker  # once a worker, not with every entry
    _source_of_worker = source
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
        load_part(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink()
        return False
    return True


def prepare_parts(source: Source, folder: Path, *, workers: int, progress: Callable[[int, int], None]) -> Parts:
    """Prepare every entry into `folder`; parts that are there already are kept as they are.

    All entries are tried before a bad one is refused, so that one run names every bad file.
    """
    entries = source.entries()
    bad: dict[str, InputError] = {}
    names: dict[str, str] = {}
    for entry in entries:
        try:
            names[entry.id] = source.part_name(entry)
        except InputError as error:
            bad[entry.id] = error
    if folder.is_dir():
        files.remove_leftovers(folder)
    todo = [(e, folder / names[e.id]) for e in entries if e.id in names and not _whole(folder / names[e.id])]
    done = len(entries) - len(todo)
    progress(done, len(entries))

    def took(entry: Entry, result: tuple[InputError | None, Sequence[str]]) -> None:
        nonlocal done
        error, notes = result
        if error is not None:
            bad[entry.id] = error
        for note in notes:
            warnings.warn(note, stacklevel=2)
        done += 1
        progress(done, len(entries))

    if workers <= 1 or len(todo) < 2:
        for entry, target in todo:
            took(entry, _prepare_one(source, entry, target))
    else:
        _in_pool(todo, source, min(workers, len(todo)), took)
    if bad and not source.drop_bad:
        first, *others = bad.values()
        also = f" [{len(bad)} bad scans, also: {'; '.join(map(str, others[:5]))}]" if others else ""
        raise InputError(first.where, first.field, first.found, f"{first.expected}{also}, or prepare.bad_scans=drop")
    kept = [(entry, names[entry.id]) for entry in entries if entry.id not in bad]
    if not kept:
        first = next(iter(bad.values()))
        raise InputError(first.where, "scans", f"none of {len(entries)} could be prepared ({first})", "readable scans")
    return Parts(kept, [(name, f"bad scan: {error}") for name, error in bad.items()])


def _in_pool(todo: list[tuple[Entry, Path]], source: Source, workers: int, took: Callable) -> None:
    # spawn: the parent may hold threads of JAX or gRPC, which fork would copy in a broken state.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(source,))
    try:
        with _interrupts_held():  # or Ctrl-C would reach a worker before it can ignore it
            futures: dict[Future, Entry] = {pool.submit(_prepare_in_worker, *item): item[0] for item in todo}
        for future in as_completed(futures):
            took(futures[future], future.result())
    except BrokenProcessPool as error:
        found = "a worker process died (out of memory, or a script without `if __name__ == '__main__'`)"
        raise InputError("--workers", "worker", found, "fewer workers; finished scans are kept") from error
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
