"""Run folders: runs/<name>/{config.json, contract.json, checkpoints/, metrics.jsonl, samples/}.

A checkpoint holds the items `params`, `ema`, `rest` (optimizer and the other fields of TrainState) and
`host` (JSON: the loader's place and what else lives outside the step). Orbax writes it beside and
renames it when whole, so a killed save leaves nothing that is taken for a checkpoint.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.state import TrainState

CONFIG = "config.json"
FOLDER = "checkpoints"
NOT_NETWORK = "uncertainty"  # trained beside the network, no part of it; see losses in diffusion_step
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: the last n, the n of lowest validation loss, every n-th step (0: none)."""

    last: int = 2
    best: int = 1
    every: int = 0


def write_json(path: Path, items: Any) -> None:
    """Write JSON beside and rename, so that a reader never sees half."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(items, indent=2) + "\n")
    part.replace(path)


def read_config(run: str | Path) -> dict[str, Any]:
    """config.json of a run folder: {"kind": "diffusion" | "age" | ..., **config}."""
    path = Path(run) / CONFIG
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(path, "run folder", "no such file", "a folder written by `brain-diffusion train`") from None
    except json.JSONDecodeError as error:
        raise InputError(path, "config", f"broken JSON ({error})", "a JSON object") from error


def read_contract(run: str | Path) -> Contract | None:
    """contract.json of a run folder, or None where converted weights came without one."""
    return Contract.load(run) if (Path(run) / "contract.json").exists() else None


def open_run(run: str | Path, kind: str, config: dict[str, Any], contract: Contract | None) -> bool:
    """Create or reopen a run folder; True if it holds a checkpoint to go on from.

    Raises ContractMismatch for data of another contract, InputError for a folder of another kind or
    one that holds something else.
    """
    run = Path(run)
    if run.exists() and not run.is_dir():
        raise InputError(run, "run folder", "a file", "a folder")
    if (run / CONFIG).exists():
        old = read_config(run)
        if old.get("kind") != kind:
            raise InputError(run / CONFIG, "kind", old.get("kind"), f"{kind} (choose another run folder)")
        for section in ("model", "conditioning", "age_model", "diffusion"):
            if section in old and section in config and old[section] != config[section]:
                mine, new = old[section], config[section]
                keys = [k for k in sorted({*mine, *new}) if mine.get(k) != new.get(k)]
                found = ", ".join(f"{section}.{k}={new.get(k)!r} (run: {mine.get(k)!r})" for k in keys)
                raise InputError(run / CONFIG, section, found, "the config the run was started with, or another --run")
    elif run.exists() and any(p for p in run.iterdir() if p.name not in ("lock", "log.txt")):
        raise InputError(run, "run folder", "a folder that holds something else", "a new or an unfinished run folder")
    if contract is not None and (run / "contract.json").exists():
        require_same(Contract.load(run), contract, run, same_data=True)
    run.mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
        if contract is not None:
            contract.save(run)
        write_json(run / CONFIG, {"kind": kind, **{k: v for k, v in config.items() if k != "kind"}})
    return bool(saved_steps(run))


def saved_steps(run: str | Path) -> list[int]:
    """Steps of the finished checkpoints, ascending."""
    folder = Path(run) / FOLDER
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def _numpy_tree(path: Path) -> Any:
    """An Orbax tree as nested dicts of numpy arrays, whatever devices wrote it."""
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as reader:
        metadata = reader.metadata(path).item_metadata.tree
        args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata)
        return reader.restore(path, restore_args=args)


def load_params(run: str | Path, step: int | str | None = None, ema: bool = True) -> Params:
    """Network parameters (nested dicts of numpy arrays) of a run folder.

    step: None the last, "best" the lowest validation loss, or a number. ema: the plain average.
    """
    run = Path(run)
    read_config(run)
    steps = saved_steps(run)
    if not steps:
        raise InputError(run / FOLDER, "checkpoints", "none finished", "a run that saved at least once")
    chosen = best_step(run) if step == "best" else step
    wanted = steps[-1] if chosen is None else chosen
    if wanted not in steps:
        raise InputError(run / FOLDER, "step", wanted, f"one of {steps}")
    folder = (run / FOLDER / str(wanted)).absolute()
    item = folder / "ema" if ema and (folder / "ema").is_dir() else folder / "params"
    try:
        params = _numpy_tree(item)
    except Exception as error:
        raise InputError(item, "checkpoint", f"unreadable ({type(error).__name__})", "a whole checkpoint") from error
    return {k: v for k, v in params.items() if k != NOT_NETWORK}


def load_model_state(run: str | Path, step: int | None = None) -> Any:
    """Collections beside the parameters (batch_stats), {} where the network has none."""
    folder = Path(run).absolute() / FOLDER / str(step if step is not None else saved_steps(run)[-1]) / "model_state"
    return _numpy_tree(folder) if folder.is_dir() else {}


def best_step(run: str | Path) -> int | None:
    """The saved step of lowest validation loss, None where none was measured."""
    from brain_diffusion_jax.training.metrics import read_jsonl

    steps = set(saved_steps(run))
    measured = {r["step"]: r["validation_loss"] for r in read_jsonl(run) if r.get("validation_loss") is not None}
    known = {s: v for s, v in measured.items() if s in steps}
    return min(known, key=known.__getitem__) if known else None


def write_run(
    run: str | Path,
    kind: str,
    params: Params,
    config: dict[str, Any],
    contract: Contract | None = None,
    model_state: Any = None,
) -> Path:
    """Write converted weights as a run folder that load_params and api.load read. Refuses a folder in use."""
    import orbax.checkpoint as ocp

    run = Path(run)
    if run.exists() and any(run.iterdir()):
        raise InputError(run, "run folder", "a folder that is not empty", "a new folder")
    open_run(run, kind, config, contract)
    with ocp.CheckpointManager((run / FOLDER).absolute()) as manager:
        items = {"params": ocp.args.PyTreeSave(params)}
        if model_state:
            items["model_state"] = ocp.args.PyTreeSave(model_state)
        manager.save(0, args=ocp.args.Composite(**items))
        manager.wait_until_finished()
    return run


class Checkpoints:
    """Asynchronous saves and restores of one run."""

    def __init__(self, run: str | Path, keep: Keep = Keep()) -> None:
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, EveryNSteps, LatestN

        self.run = Path(run)
        policies: list[Any] = [LatestN(max(keep.last, 1))]
        if keep.best:
            policies.append(
                BestN(
                    get_metric_fn=lambda m: -m["validation_loss"], n=keep.best, keep_checkpoints_without_metrics=False
                )
            )
        if keep.every:
            policies.append(EveryNSteps(keep.every))
        self.folder = (self.run / FOLDER).absolute()
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy(policies), cleanup_tmp_directories=True
            ),
        )

    def save(self, state: TrainState, host: dict[str, Any], validation_loss: float | None = None) -> int:
        """Begin saving `state` under its own step; returns the step. Already saved: nothing is done."""
        import orbax.checkpoint as ocp

        step = int(state.step)
        if step in self._manager.all_steps():
            return step
        items = {
            "params": ocp.args.PyTreeSave(state.params),
            "ema": ocp.args.PyTreeSave(state.ema),
            "rest": ocp.args.PyTreeSave(_rest(state)),
            "host": ocp.args.JsonSave(host),
        }
        if jax.tree.leaves(state.model_state):
            items["model_state"] = ocp.args.PyTreeSave(state.model_state)
        metrics = None if validation_loss is None else {"validation_loss": validation_loss}
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)
        return step

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint that can be read, in the shapes and shardings of `like`; None if there is none.

        like: arrays or ShapeDtypeStructs with shardings. Unreadable ones are named and skipped.
        """
        import orbax.checkpoint as ocp

        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                args: dict[str, Any] = {
                    "params": ocp.args.PyTreeRestore(like.params, restore_args=_restore_args(like.params)),
                    "ema": ocp.args.PyTreeRestore(like.ema, restore_args=_restore_args(like.ema)),
                    "rest": ocp.args.PyTreeRestore(_rest(like), restore_args=_restore_args(_rest(like))),
                    "host": ocp.args.JsonRestore(),
                }
                if jax.tree.leaves(like.model_state):
                    args["model_state"] = ocp.args.PyTreeRestore(
                        like.model_state, restore_args=_restore_args(like.model_state)
                    )
                found = self._manager.restore(step, args=ocp.args.Composite(**args))
            except Exception as error:
                logger.warning("checkpoint %s: unreadable, skipped (%s)", self.folder / str(step), error)
                continue
            state = like.replace(
                params=found["params"],
                ema=found["ema"],
                model_state=found["model_state"] if "model_state" in args else like.model_state,
                **found["rest"],
            )
            return state, found["host"]
        return None

    def wait(self) -> None:
        """Return when the save under way is whole on disk; raises what it raised."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _rest(state: TrainState) -> dict[str, Any]:
    return {
        "step": state.step,
        "opt_state": state.opt_state,
        "power_ema": state.power_ema,
        "lr_scale": state.lr_scale,
    }


def _restore_args(tree: Any) -> Any:
    import orbax.checkpoint as ocp

    return jax.tree.map(
        lambda a: ocp.ArrayRestoreArgs(sharding=a.sharding, global_shape=a.shape, dtype=a.dtype, strict=True), tree
    )
