"""What a run folder holds: its config and contract, how far it got, its best and last numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    import json

    found = describe(arguments.run)
    print(json.dumps(found, indent=2) if arguments.json else _text(found))
    return 0


def describe(folder: Path) -> dict[str, Any]:
    """Everything `info` shows, as plain JSON values."""
    from brain_diffusion_jax import files
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.kinds import KINDS, covers, value_at
    from brain_diffusion_jax.training.run_folder import checkpoints, metrics

    config = checkpoints.read_config(folder)
    name = config.pop("kind", "diffusion")
    if name not in KINDS:
        raise InputError(folder / checkpoints.CONFIG, "kind", name, " or ".join(KINDS))
    kind = KINDS[name]
    contract = checkpoints.read_contract(folder)
    steps = checkpoints.saved_steps(folder)
    if not steps and ("source" in config or folder.name.endswith(files.PART)):
        raise InputError(folder, "checkpoints", "none: a conversion that was stopped", "a whole run; convert again")
    rows = metrics.read_jsonl(folder)
    measured = [r for r in rows if kind.ranks and r.get("validation_loss") is not None]
    best = min(measured, key=lambda r: r["validation_loss"], default=None)
    last = max((r["step"] for r in rows), default=steps[-1] if steps else 0)
    speeds = sorted(r["images_per_s"] for r in rows if r.get("images_per_s"))
    return {
        "run": str(folder),
        "kind": name,
        "step": last,
        "of": value_at(config, kind.steps),
        "checkpoints": steps,
        "best": best and {"step": best["step"], "validation_loss": best["validation_loss"]},
        "last": rows[-1] if rows else None,
        "images_per_s": speeds[len(speeds) // 2] if speeds else None,
        "contract": contract and contract.to_json(),
        "history": checkpoints.read_history(folder),
        "config": {
            section: {key: value for key, value in values.items() if covers(kind.reads, f"{section}.{key}")}
            if isinstance(values, dict)
            else values
            for section, values in config.items()
        },
    }


def _text(found: dict[str, Any]) -> str:
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
    lines.append("config")
    for section, values in found["config"].items():
        if isinstance(values, dict):
            lines += [f"  {section}.{key} = {value!r}" for key, value in values.items()]
        else:
            lines.append(f"  {section} = {values!r}")
    return "\n".join(lines)
