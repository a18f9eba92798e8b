"""Run folders: runs/<name>/{config.json, contract.json, checkpoints/, metrics.jsonl, samples/}.

What a checkpoint holds, and how it is saved and restored, is in `store`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.files import read_json, write_json
from brain_diffusion_jax.json_types import require_types
from brain_diffusion_jax.training.store import FOLDER, Keep, Store, saved_steps

CONFIG = "config.json"
NOT_NETWORK = "uncertainty"  # trained beside the network, no part of it; see losses in diffusion_step

# Settings of a network that change how it is computed, and nothing that a checkpoint holds.
HOW_COMPUTED = ("remat", "fast_conv_gradient")


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
            mine, new = old.get(section) or {}, config.get(section) or {}
            # A setting that the run does not name is younger than the run.
            keys = [k for k in sorted(mine) if k not in HOW_COMPUTED and new and mine[k] != new.get(k)]
            if keys:
                found = ", ".join(f"{section}.{k}={new.get(k)!r} (run: {mine[k]!r})" for k in keys)
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
    "saved_steps",
    "write_json",
    "write_run",
]
