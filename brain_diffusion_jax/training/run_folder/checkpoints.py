"""Run folders: runs/<name>/{config.json, contract.json, history.jsonl, checkpoints/, metrics.jsonl, samples/}.

What a checkpoint holds, and how it is saved and restored, is in `store`.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.errors import InputError, one_line
from brain_diffusion_jax.files import read_json, read_json_lines, write_json, write_json_lines
from brain_diffusion_jax.json_types import require_types
from brain_diffusion_jax.training.run_folder.changes import Kept, changes, forbidden
from brain_diffusion_jax.training.run_folder.step_folders import StepFolders, damage
from brain_diffusion_jax.training.run_folder.store import FOLDER, Keep, Store, saved_steps
from brain_diffusion_jax.training.state import network_params

logger = logging.getLogger(__name__)
CONFIG = "config.json"
HISTORY = "history.jsonl"
_BEFORE_CONFIG = ("lock", "log.txt", FOLDER)  # what a run may hold before its config
_SECTIONS = ("model", "conditioning", "age_model", "class_model", "gan", "diffusion", "train", "study")


def read_config(run: str | Path) -> dict[str, Any]:
    """config.json of a run folder: {"kind": "diffusion" | "age" | ..., **config}."""
    path = Path(run) / CONFIG
    config: dict[str, Any] = read_json(path, "run folder", expected="a folder written by `brain-diffusion train`")
    require_types(config, {"kind": str, **dict.fromkeys(_SECTIONS, dict[str, Any] | None)}, path)
    return config


def read_contract(run: str | Path) -> Contract | None:
    """contract.json of a run folder, or None where converted weights came without one."""
    return Contract.load(run) if (Path(run) / "contract.json").exists() else None


def require_same_run(run: str | Path, kind: str, config: dict[str, Any], contract: Contract | None, kept: Kept) -> None:
    """Refuse to go on in a folder with other data, another kind, or a change of what is `kept`; writes nothing.

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
        changed = changes(old, _plain(config))
        broken = forbidden(kept, changed)
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
        changed = changes(read_config(run), _plain(config))
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
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain


def numpy_tree(path: Path) -> Any:
    """An Orbax tree as nested dicts of numpy arrays, whatever devices wrote it."""
    import orbax.checkpoint as ocp

    reader = ocp.PyTreeCheckpointHandler()
    args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), reader.metadata(path).tree)
    return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=args))


class Weights(NamedTuple):
    """params: network parameters; model_state: other collections (batch_stats), {} where there are none."""

    step: int
    params: Params
    model_state: Any


def load_weights(run: str | Path, step: int | str | None = None, ema: bool = True) -> Weights:
    """Weights of a run folder as nested dicts of numpy arrays, after their checksums were compared.

    step: None the newest whole one (damaged ones are named and passed over), "best" the lowest validation
    loss, or a number. ema: the plain average. Raises InputError for a damaged checkpoint that was asked for,
    and for weights that are not finite.
    """
    run = Path(run)
    read_config(run)
    steps = saved_steps(run)
    if not steps:
        raise InputError(run / FOLDER, "checkpoints", "none finished", "a run that saved at least once")
    chosen = best_step(run) if step == "best" else step
    if chosen is not None and chosen not in steps:
        raise InputError(run / FOLDER, "step", chosen, f"one of {steps}")
    for number in reversed(steps) if chosen is None else (int(chosen),):
        folder = (run / FOLDER / str(number)).absolute()
        item = "ema" if ema and (folder / "ema").is_dir() else "params"
        # An average that was written and is gone is damage, too.
        problem = damage(folder, {item, "model_state", "ema" if ema else item})
        if not problem:
            try:
                params, state = numpy_tree(folder / item), {}
                if (folder / "model_state").is_dir():
                    state = numpy_tree(folder / "model_state")
            except Exception as error:
                problem = f"unreadable: {one_line(error)}"
            else:
                require_finite(params, folder / item)
                require_finite(state, folder / "model_state")
                return Weights(number, network_params(params), state)
        if chosen is not None:
            raise InputError(folder, "checkpoint", f"damaged ({problem})", f"a whole one; this run has {steps}")
        logger.warning("%s: damaged checkpoint, passed over (%s)", folder, problem)
    raise InputError(run / FOLDER, "checkpoints", f"all damaged: {steps}", "one whole checkpoint")


def load_params(run: str | Path, step: int | str | None = None, ema: bool = True) -> Params:
    """The parameters of `load_weights`."""
    return load_weights(run, step, ema).params


def require_finite(tree: Any, where: Path) -> None:
    """Raise InputError for NaN or infinity: what such a network makes is black or worse, and looks like a result."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not np.isfinite(leaf).all():
            name = "/".join(str(getattr(key, "key", key)) for key in path)
            raise InputError(
                where, name, "NaN or infinite weights", "finite weights; another checkpoint (--checkpoint)"
            )


def best_step(run: str | Path) -> int | None:
    """The saved step of lowest validation loss, None where none was measured."""
    from brain_diffusion_jax.training.run_folder.metrics import read_jsonl

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
    """Write converted weights as a run folder that load_weights and api.load read. Refuses a folder in use."""
    import orbax.checkpoint as ocp

    run = Path(run)
    if run.exists() and any(run.iterdir()):
        raise InputError(run, "run folder", "a folder that is not empty", "a new folder")
    record_run(run, kind, config, contract)
    items = {"params": ocp.args.PyTreeSave(params)}
    if model_state:
        items["model_state"] = ocp.args.PyTreeSave(model_state)
    folders = StepFolders(run / FOLDER)
    folders.save(0, items)
    folders.wait()
    folders.close()
    return run


def write_whole_run(
    run: str | Path,
    kind: str,
    params: Params,
    config: dict[str, Any],
    contract: Contract | None,
    model_state: Any = None,
) -> None:
    """`write_run` into a new folder next to `run`, renamed when finished: it is there whole or not at all."""
    with files.replacing_folder(run) as part:
        write_run(part, kind, params, config, contract, model_state)


__all__ = [
    "Keep",
    "Store",
    "Weights",
    "best_step",
    "load_params",
    "load_weights",
    "read_config",
    "read_contract",
    "read_history",
    "record_run",
    "require_finite",
    "require_same_run",
    "saved_steps",
    "write_json",
    "write_run",
    "write_whole_run",
]
