"""Run folders: runs/<name>/{config.json, contract.json, history.jsonl, checkpoints/, metrics.jsonl, samples/}.

What a checkpoint holds, and how it is saved and restored, is in `store`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax import kinds
from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.files import read_json, read_json_lines, write_json, write_json_lines
from brain_diffusion_jax.json_types import require_types
from brain_diffusion_jax.training.store import FOLDER, Keep, Store, saved_steps

CONFIG = "config.json"
HISTORY = "history.jsonl"
_BEFORE_CONFIG = ("lock", "log.txt", FOLDER)  # what a run may hold before its config
NOT_NETWORK = "uncertainty"  # trained beside the network, no part of it; see losses in diffusion_step


_SECTIONS = ("model", "conditioning", "age_model", "class_model", "gan", "diffusion", "train", "study")


def read_config(run: str | Path) -> dict[str, Any]:
    """config.json of a run folder: {"kind": "diffusion" | "age" | ..., **config}."""
    path = Path(run) / CONFIG
    config = read_json(path, "run folder", expected="a folder written by `brain-diffusion train`")
    require_types(config, {"kind": str, **dict.fromkeys(_SECTIONS, dict[str, Any] | None)}, path)
    return config


def read_contract(run: str | Path) -> Contract | None:
    """contract.json of a run folder, or None where converted weights came without one."""
    return Contract.load(run) if (Path(run) / "contract.json").exists() else None


def require_same_run(run: str | Path, kind: str, config: dict[str, Any], contract: Contract | None) -> None:
    """Refuse to go on in a folder with other data, another kind, or settings that a run keeps; writes nothing.

    Raises ContractMismatch for data of another contract, InputError for the rest and for a folder that holds
    something else.
    """
    run = Path(run)
    if run.exists() and not run.is_dir():
        raise InputError(run, "run folder", "a file", "a folder")
    if (run / CONFIG).exists():
        old = read_config(run)
        if old.get("kind") != kind:
            raise InputError(run / CONFIG, "kind", old.get("kind"), f"{kind} (choose another run folder)")
        changed = kinds.changes(kinds.KINDS[kind], old, _plain(config))
        broken = kinds.forbidden(kinds.KINDS[kind], changed)
        if broken:
            found = ", ".join(f"{path}={changed[path][1]!r} (run: {changed[path][0]!r})" for path in broken)
            raise InputError(run / CONFIG, "config", found, "what the run was started with, or another --run")
    elif run.exists() and (saved_steps(run) or any(p.name not in _BEFORE_CONFIG for p in run.iterdir())):
        raise InputError(run, "run folder", "a folder that holds something else", "a new or an unfinished run folder")
    if contract is not None and (run / "contract.json").exists():
        require_same(Contract.load(run), contract, run, same_data=True)


def record_run(run: str | Path, kind: str, config: dict[str, Any], contract: Contract | None, step: int = 0) -> None:
    """Write config.json and contract.json; what changes in an old run is first noted in history.jsonl, with `step`."""
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    if (run / CONFIG).exists():
        changed = kinds.changes(kinds.KINDS[kind], read_config(run), _plain(config))
        if changed:
            row = {"step": step, "time": round(time.time(), 2), "changes": {k: list(v) for k, v in changed.items()}}
            write_json_lines(run / HISTORY, [*read_history(run), row])
    if contract is not None:
        contract.save(run)
    write_json(run / CONFIG, {"kind": kind, **{k: v for k, v in config.items() if k != "kind"}})


def read_history(run: str | Path) -> list[dict[str, Any]]:
    """[{"step", "time", "changes": {path: [before, after]}}] of the settings that changed in mid-run."""
    return read_json_lines(Path(run) / HISTORY)[0]


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """As config.json gives it back."""
    return json.loads(json.dumps(config))


def open_run(run: str | Path, kind: str, config: dict[str, Any], contract: Contract | None) -> bool:
    """`require_same_run`, then `record_run`; True if the folder holds a checkpoint to go on from."""
    require_same_run(run, kind, config, contract)
    if jax.process_index() == 0:
        record_run(run, kind, config, contract)
    return bool(saved_steps(run))


def numpy_tree(path: Path) -> Any:
    """An Orbax tree as nested dicts of numpy arrays, whatever devices wrote it."""
    import orbax.checkpoint as ocp

    reader = ocp.PyTreeCheckpointHandler()
    args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), reader.metadata(path).tree)
    return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=args))


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
        params = numpy_tree(item)
    except Exception as error:
        raise InputError(item, "checkpoint", f"unreadable ({type(error).__name__})", "a whole checkpoint") from error
    return {k: v for k, v in params.items() if k != NOT_NETWORK}


def load_model_state(run: str | Path, step: int | None = None) -> Any:
    """Collections beside the parameters (batch_stats), {} where the network has none."""
    folder = Path(run).absolute() / FOLDER / str(step if step is not None else saved_steps(run)[-1]) / "model_state"
    return numpy_tree(folder) if folder.is_dir() else {}


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


__all__ = [
    "Keep",
    "Store",
    "best_step",
    "load_model_state",
    "load_params",
    "open_run",
    "read_config",
    "read_contract",
    "read_history",
    "record_run",
    "require_same_run",
    "saved_steps",
    "write_json",
    "write_run",
]
