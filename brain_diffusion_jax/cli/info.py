"""What a run folder holds: how far it got, its best and last numbers, its data, and what its config changes.

brain-diffusion info runs/NAME
brain-diffusion info runs/NAME --all     # the whole config, defaults included
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--all", action="store_true", help="print every setting, not only those that are no defaults")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax.api.run_summary import describe

    found = describe(arguments.run)
    print(json.dumps(found, indent=2) if arguments.json else text(found, every_setting=arguments.all))
    return 0


def text(found: dict[str, Any], *, every_setting: bool = False) -> str:
    """A described run in lines, what matters first."""
    from brain_diffusion_jax.api.run_summary import changed_settings, settings
    from brain_diffusion_jax.config import base_config, to_json

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
