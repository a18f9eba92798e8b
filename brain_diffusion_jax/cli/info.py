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
    from brain_diffusion_jax.training import checkpoints, metrics

    config = checkpoints.read_config(folder)
    contract = checkpoints.read_contract(folder)
    rows = metrics.read_jsonl(folder)
    measured = [r for r in rows if r.get("validation_loss") is not None]
    best = min(measured, key=lambda r: r["validation_loss"], default=None)
    steps = checkpoints.saved_steps(folder)
    last = max((r["step"] for r in rows), default=steps[-1] if steps else 0)
    speeds = sorted(r["images_per_s"] for r in rows if r.get("images_per_s"))
    return {
        "run": str(folder),
        "kind": config.get("kind"),
        "step": last,
        "of": (config.get("age_model" if config.get("kind") == "age" else "train") or {}).get("num_steps"),
        "checkpoints": steps,
        "best": best and {"step": best["step"], "validation_loss": best["validation_loss"]},
        "last": rows[-1] if rows else None,
        "images_per_s": speeds[len(speeds) // 2] if speeds else None,
        "contract": contract and contract.to_json(),
        "config": config,
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
    lines.append("config")
    for section, values in found["config"].items():
        if isinstance(values, dict):
            lines += [f"  {section}.{key} = {value!r}" for key, value in values.items()]
        elif section != "kind":
            lines.append(f"  {section} = {values!r}")
    return "\n".join(lines)
