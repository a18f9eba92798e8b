"""What a run folder holds, without opening its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.config import base_config, from_json, to_json
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.spec import spec_of
from brain_diffusion_jax.training.run_folder import checkpoints, metrics
from brain_diffusion_jax.training.run_folder.changes import value_at


def describe(folder: Path) -> dict[str, Any]:
    """Kind, steps, best and last numbers, contract, history and config of a run, as plain JSON values."""
    items = checkpoints.read_config(folder)
    declared = spec_of(items, folder / checkpoints.CONFIG)
    config = to_json(from_json({**items, "kind": declared.kind}, folder / checkpoints.CONFIG))
    contract = checkpoints.read_contract(folder)
    steps = checkpoints.saved_steps(folder)
    if not steps and ("source" in config or folder.name.endswith(files.PART)):
        raise InputError(folder, "checkpoints", "none: a conversion that was stopped", "a whole run; convert again")
    rows = metrics.read_jsonl(folder)
    measured = [r for r in rows if declared.ranks and r.get("validation_loss") is not None]
    best = min(measured, key=lambda r: r["validation_loss"], default=None)
    last = max((r["step"] for r in rows), default=steps[-1] if steps else 0)
    speeds = sorted(r["images_per_s"] for r in rows if r.get("images_per_s"))
    return {
        "run": str(folder),
        "kind": declared.kind,
        "step": last,
        "of": value_at(config, declared.steps),
        "checkpoints": steps,
        "best": best and {"step": best["step"], "validation_loss": best["validation_loss"]},
        "last": rows[-1] if rows else None,
        "images_per_s": speeds[len(speeds) // 2] if speeds else None,
        "contract": contract and contract.to_json(),
        "history": checkpoints.read_history(folder),
        "config": {section: values for section, values in config.items() if section not in ("format", "kind")},
    }


def text(found: dict[str, Any], *, every_setting: bool = False) -> str:
    """A described run in lines, what matters first."""
    best, contract = found["best"], found["contract"]
    lines = [
        f"run          {found['run']} ({found['kind']})",
        f"steps        {found['step']} of {found['of']}",
        f"checkpoints  {', '.join(map(str, found['checkpoints'])) or 'none'}",
        f"best         validation loss {best['validation_loss']:.5g} at step {best['step']}"
        if best
        else "best         -",
        f"speed        {found['images_per_s']:.4g} images/s (median)" if found["images_per_s"] else "speed        -",
    ]
    if found["last"]:
        numbers = [f"{k} {v:.5g}" for k, v in found["last"].items() if isinstance(v, float) and k != "time"]
        lines.append(f"last         {', '.join(numbers)}")
    if contract:
        names = ", ".join(c["name"] for c in contract["schema"])
        size = "x".join(map(str, contract["image_size"]))
        lines.append(f"contract     {contract['kind']} {size}, {names}; {contract['fingerprint'][:19]}")
    for row in found["history"]:
        changed = ", ".join(f"{path} {old!r} -> {new!r}" for path, (old, new) in row["changes"].items())
        lines.append(f"changed      at step {row['step']}: {changed}")
    whole = settings(found["config"])
    shown = whole if every_setting else changed_settings(found["config"], to_json(base_config()))
    lines.append("config" if every_setting else f"config       {len(shown)} of {len(whole)} settings; --all: every one")
    lines += [f"  {path} = {value!r}" for path, value in shown.items()]
    return "\n".join(lines)


def changed_settings(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Path -> value of the settings in which a described config differs from the defaults."""
    return {
        path: value
        for path, value in settings(config).items()
        if value != value_at(defaults, path) and (value or value_at(defaults, path))
    }


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Path "section.key" -> value of a config as plain JSON values."""
    return {
        path: value
        for section, values in config.items()
        for path, value in (
            {f"{section}.{key}": v for key, v in values.items()} if isinstance(values, dict) else {section: values}
        ).items()
    }
