"""Saving and restoring the state of a run with Orbax.

A checkpoint is a folder run/checkpoints/<step> with the items `params`, `ema`, `model_state`, `rest`
(optimizer and the other fields of TrainState) and `host` (JSON: the loader's place and what else lives
outside the step). `step_folders` says how a killed save and a damaged file are known.
"""

from __future__ import annotations

import errno
import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError, one_line
from brain_diffusion_jax.training.run_folder.step_folders import StepFolders, damage
from brain_diffusion_jax.training.state import TrainState, tree_bytes

FOLDER = "checkpoints"
SNAPSHOTS = "snapshots"
_LOSS = "validation_loss"  # saved with the state, so that the best one is known after a restart
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


def require_folder(run: Path) -> None:
    """Raise InputError where the folder of a training is gone; made anew, half a run would stand there."""
    if not run.is_dir():
        expected = "the folder that the training began in; it was deleted or moved, and nothing more is saved"
        raise InputError(run, "run folder", "gone", expected)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """A full disk, and a folder that is gone, as an InputError, whichever library met it."""
    require_folder(folder)
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        require_folder(folder)
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        if not full:
            raise
        expected = "free space; finished checkpoints are kept, start the same command again"
        raise InputError(folder, "disk", "no space left while saving", expected) from error


class Store:
    """Asynchronous saves and restores of one run; used alike by all of its processes."""

    def __init__(self, run: str | Path, keep: Keep = Keep()) -> None:
        self.run, self._keep = Path(run), keep
        self.folder = (self.run / FOLDER).absolute()
        self._losses = {step: _validation_loss(self.folder / str(step)) for step in saved_steps(self.run)}
        self._folders = StepFolders(self.folder, preservation_policy=self)
        self._snapshots: StepFolders | None = None
        self._damaged: list[int] = []

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, ascending."""
        return self._folders.steps()

    def should_preserve(self, checkpoints: Sequence[Any], **_: Any) -> list[bool]:
        """Which steps stay; Orbax asks after every save."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        known = ((loss, -step) for step in steps if math.isfinite(loss := self._losses.get(step, math.inf)))
        best = [-step for _, step in sorted(known)[: self._keep.best]]  # of equal ones the later
        kept = {*steps[-max(self._keep.last, 1) :], *best}
        return [step in kept or (self._keep.every > 0 and step % self._keep.every == 0) for step in steps]

    def save(self, state: TrainState, host: dict[str, Any], validation_loss: float | None = None) -> int:
        """Begin saving `state` under its own step; returns the step. Already saved: nothing is done.

        Damaged checkpoints that `restore` passed over go first: they would count among the last ones to keep.
        """
        import orbax.checkpoint as ocp

        step = int(state.step)
        self.wait()
        if step in self.steps() and step not in self._damaged:
            return step
        items = {name: ocp.args.PyTreeSave(tree) for name, tree in _items(state).items()}
        items["host"] = ocp.args.JsonSave({**host, _LOSS: validation_loss})
        self._losses[step] = math.inf if validation_loss is None else validation_loss
        with _explained(self.folder):
            self._require_space(state)
            while self._damaged:
                self._folders.delete(self._damaged.pop())
            self._folders.save(step, items)
        return step

    def _require_space(self, state: TrainState) -> None:
        needed, free = tree_bytes(state), shutil.disk_usage(self.folder).free
        if free < needed and jax.process_index() == 0:
            raise OSError(errno.ENOSPC, f"No space left: {free} bytes free of {needed}")

    def snapshot(self, step: int, power_ema: dict[str, Any]) -> None:
        """Keep the power-function averages of a step for good, in run/snapshots.

        One of the same step is replaced: it is of a training that was taken back, or the same.
        """
        import orbax.checkpoint as ocp

        with _explained(self.run):
            if self._snapshots is None:
                self._snapshots = StepFolders(self.run / SNAPSHOTS)
            items = {f"sigma_{name}": ocp.args.PyTreeSave(tree) for name, tree in power_ema.items()}
            self._snapshots.save(step, items)

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest whole checkpoint, in the shapes and shardings of `like`; None if none was ever saved.

        like: arrays or ShapeDtypeStructs with shardings. Damaged checkpoints are named and passed over;
        InputError where all are damaged, or where one is of another network or optimizer.
        """
        steps, self._damaged = self.steps(), []
        for step in reversed(steps):
            folder = self.folder / str(step)
            problem = _agreed(damage(folder) if jax.process_index() == 0 else "")
            if not problem:
                _require_same_tree(folder, like)
                try:
                    return self._read(step, like)
                except Exception as error:
                    problem = one_line(error)
            logger.warning("%s: damaged checkpoint, passed over (%s)", folder, problem)
            self._damaged.append(step)
        if steps:
            expected = "one whole checkpoint (or an empty folder, to begin again)"
            raise InputError(self.folder, "checkpoints", f"all damaged: {steps}", expected)
        return None

    def _read(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        import orbax.checkpoint as ocp

        args: dict[str, Any] = {
            name: ocp.args.PyTreeRestore(tree, restore_args=_restore_args(tree)) for name, tree in _items(like).items()
        }
        restored = self._folders.restore(step, {**args, "host": ocp.args.JsonRestore()})
        trees = {name: restored[name] for name in args}
        host = {name: item for name, item in restored["host"].items() if name != _LOSS}
        return like.replace(**{"model_state": like.model_state, **trees.pop("rest"), **trees}), host

    def wait(self) -> None:
        """Return when every save under way is whole on disk; InputError if the disk was full or the folder is gone."""
        with _explained(self.folder):
            for folders in filter(None, (self._folders, self._snapshots)):
                folders.wait()

    def close(self) -> None:
        """Let go of the folder. A save that failed was reported by `wait`, and is only logged here."""
        for folders in filter(None, (self._folders, self._snapshots)):
            try:
                folders.close()
            except Exception as error:
                logger.warning("%s: closed after a failed save (%s)", folders.path, error)


def _validation_loss(folder: Path) -> float:
    """What the last validation before a checkpoint said; infinity if it is unknown or unreadable."""
    try:
        host = files.read_json(folder / "host" / "metadata")
    except InputError:  # `restore` will say so
        return math.inf
    judgement = host.get("judgement")  # of 0.1, which wrote no loss of its own
    loss = host.get(_LOSS, judgement.get("last") if isinstance(judgement, dict) else None)
    return loss if isinstance(loss, int | float) else math.inf


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
