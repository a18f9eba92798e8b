"""Saving and restoring the state of a run with Orbax.

A checkpoint is a folder run/checkpoints/<step> with the items `params`, `ema`, `model_state`, `rest`
(optimizer and the other fields of TrainState) and `host` (JSON: the loader's place and what else lives
outside the step). Orbax writes it beside and renames it when whole, so that a killed save leaves nothing
that is taken for a checkpoint; checksums.json, added afterwards, tells a damaged one.
"""

from __future__ import annotations

import errno
import logging
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.state import TrainState, tree_bytes

FOLDER = "checkpoints"
SNAPSHOTS = "snapshots"
CHECKSUMS = "checksums.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: the last n, the n of lowest validation loss, every n-th step (0: none)."""

    last: int = 2
    best: int = 1
    every: int = 0


def saved_steps(run: str | Path) -> list[int]:
    """Steps of the finished checkpoints, ascending."""
    folder = Path(run) / FOLDER
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """A full disk as an InputError, whichever library met it."""
    try:
        yield
    except Exception as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        if not full:
            raise
        expected = "free space; finished checkpoints are kept, start the same command again"
        raise InputError(folder, "disk", "no space left while saving", expected) from error


class Store:
    """Asynchronous saves and restores of one run; used alike by all of its processes."""

    def __init__(self, run: str | Path, keep: Keep = Keep()) -> None:
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, EveryNSteps, LatestN

        self.run = Path(run)
        self.folder = (self.run / FOLDER).absolute()
        policies: list[Any] = [LatestN(max(keep.last, 1))]
        if keep.best:
            policies.append(
                BestN(
                    get_metric_fn=lambda m: -m["validation_loss"], n=keep.best, keep_checkpoints_without_metrics=False
                )
            )
        if keep.every:
            policies.append(EveryNSteps(keep.every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(policies), cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)
        self._snapshots: Any = None
        self._unsummed: int | None = None

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, host: dict[str, Any], validation_loss: float | None = None) -> int:
        """Begin saving `state` under its own step; returns the step. Already saved: nothing is done."""
        import orbax.checkpoint as ocp

        step = int(state.step)
        self.wait()
        if step in self._manager.all_steps():
            return step
        items = {name: ocp.args.PyTreeSave(tree) for name, tree in _items(state).items()}
        items["host"] = ocp.args.JsonSave(host)
        metrics = None if validation_loss is None else {"validation_loss": validation_loss}
        with _explained(self.folder):
            self._require_space(state)
            self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)
        self._unsummed = step
        return step

    def _require_space(self, state: TrainState) -> None:
        needed, free = tree_bytes(state), shutil.disk_usage(self.folder).free
        if free < needed and jax.process_index() == 0:
            raise OSError(errno.ENOSPC, f"No space left: {free} bytes free of {needed}")

    def snapshot(self, step: int, power_ema: dict[str, Any]) -> None:
        """Keep the power-function averages of a step for good, in run/snapshots."""
        import orbax.checkpoint as ocp

        with _explained(self.run):
            if self._snapshots is None:
                options = ocp.CheckpointManagerOptions(cleanup_tmp_directories=True)
                self._snapshots = ocp.CheckpointManager((self.run / SNAPSHOTS).absolute(), options=options)
            if step not in self._snapshots.all_steps():
                items = {f"sigma_{name}": ocp.args.PyTreeSave(tree) for name, tree in power_ema.items()}
                self._snapshots.save(step, args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest whole checkpoint, in the shapes and shardings of `like`; None if none was ever saved.

        like: arrays or ShapeDtypeStructs with shardings. Damaged checkpoints are named and passed over;
        InputError where all are damaged, or where one is of another network or optimizer.
        """
        steps = self.steps()
        for step in reversed(steps):
            folder = self.folder / str(step)
            problem = _agreed(_damage(folder) if jax.process_index() == 0 else "")
            if not problem:
                _require_same_tree(folder, like)
                try:
                    return self._read(step, like)
                except Exception as error:
                    problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            logger.warning("%s: damaged checkpoint, passed over (%s)", folder, problem)
        if steps:
            expected = "one whole checkpoint (or an empty folder, to begin again)"
            raise InputError(self.folder, "checkpoints", f"all damaged: {steps}", expected)
        return None

    def _read(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        import orbax.checkpoint as ocp

        args: dict[str, Any] = {
            name: ocp.args.PyTreeRestore(tree, restore_args=_restore_args(tree)) for name, tree in _items(like).items()
        }
        found = self._manager.restore(step, args=ocp.args.Composite(**args, host=ocp.args.JsonRestore()))
        trees = {name: found[name] for name in args}
        return like.replace(**{"model_state": like.model_state, **trees.pop("rest"), **trees}), found["host"]

    def wait(self) -> None:
        """Return when every save under way is whole on disk; raises InputError if the disk was full."""
        with _explained(self.folder):
            self._manager.wait_until_finished()
            if self._snapshots is not None:
                self._snapshots.wait_until_finished()
            if self._unsummed is not None and jax.process_index() == 0:
                _write_checksums(self.folder / str(self._unsummed))
            self._unsummed = None

    def close(self) -> None:
        """Let go of the folder. A save that failed was reported by `wait`, and is only logged here."""
        for manager in (self._manager, self._snapshots):
            try:
                if manager is not None:
                    manager.close()
            except Exception as error:
                logger.warning("%s: closed after a failed save (%s)", self.folder, error)


def _items(state: TrainState) -> dict[str, Any]:
    """A state as the trees of a checkpoint; empty ones are left out."""
    rest = {
        "step": state.step,
        "opt_state": state.opt_state,
        "power_ema": state.power_ema,
        "lr_scale": state.lr_scale,
        "loss_mean": state.loss_mean,
        "accepted": state.accepted,
    }
    items = {"params": state.params, "ema": state.ema, "rest": rest}
    return {**items, "model_state": state.model_state} if jax.tree.leaves(state.model_state) else items


def _restore_args(tree: Any) -> Any:
    import orbax.checkpoint as ocp

    return jax.tree.map(
        lambda a: ocp.ArrayRestoreArgs(sharding=a.sharding, global_shape=a.shape, dtype=a.dtype, strict=True), tree
    )


def _agreed(problem: str) -> str:
    """What the first process found, on every process."""
    if jax.process_count() == 1:
        return problem
    from jax.experimental import multihost_utils

    bad = multihost_utils.broadcast_one_to_all(np.int32(bool(problem)))
    return (problem or "found by process 0") if bad else ""


def _files(folder: Path) -> Iterator[Path]:
    yield from (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != CHECKSUMS)


def _checksum(path: Path) -> list[int]:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return [path.stat().st_size, value]


def _write_checksums(folder: Path) -> None:
    if not folder.is_dir():  # already superseded
        return
    sums = {str(p.relative_to(folder)): _checksum(p) for p in _files(folder)}
    files.write_json(folder / CHECKSUMS, sums, indent=None)


def _damage(folder: Path) -> str:
    """What is wrong with a checkpoint's files; "" if nothing, or if it was saved right before a kill, unsummed."""
    path = folder / CHECKSUMS
    if not path.exists():
        return ""
    try:
        sums = files.read_json(path, "checksums")
    except InputError:
        return f"broken {CHECKSUMS}"
    for name, expected in sums.items():
        file = folder / name
        if not file.exists():
            return f"{name}: missing"
        if _checksum(file) != expected:
            return f"{name}: {file.stat().st_size} bytes that are not those written"
    return ""


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    import orbax.checkpoint as ocp

    flat = ocp.tree.to_flat_dict(ocp.tree.serialize_tree(tree, keep_empty_nodes=False), sep="/")
    return {str(k): tuple(v.shape) for k, v in flat.items() if hasattr(v, "shape")}


def _require_same_tree(folder: Path, like: TrainState) -> None:
    """Raise InputError if a checkpoint holds other arrays than `like`; unreadable metadata says nothing."""
    import orbax.checkpoint as ocp

    for name, tree in _items(like).items():
        try:
            stored = _shapes(ocp.PyTreeCheckpointHandler().metadata(folder / name).tree)
        except Exception as error:
            logger.debug("%s: no metadata (%s)", folder / name, error)
            continue
        wanted = _shapes(tree)
        for leaf in sorted({*stored, *wanted}):
            if stored.get(leaf) != wanted.get(leaf):
                what = "optimizer" if leaf.startswith("opt_state") else "network"
                raise InputError(
                    folder / name,
                    f"{what}: {leaf}",
                    f"shape {stored[leaf]}" if leaf in stored else "nothing",
                    f"shape {wanted[leaf]} (the config asks for it)"
                    if leaf in wanted
                    else f"no such array: another {what}",
                )
