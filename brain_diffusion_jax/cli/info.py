"""What a run folder holds: how far it got, its best and last numbers, its data, and what its config changes.

brain-diffusion info runs/NAME
brain-diffusion info runs/NAME --all     # the whole config, defaults included
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option


class Options(OptionGroup):
    """Which run, and how much of it."""

    run: Path = argument("run folder")
    all: bool = option("print every setting, not only those that are no defaults", False)
    json: bool = option("print JSON and nothing else", False)


def run(options: Options) -> int:
    """Print what the run folder holds."""
    import json

    from brain_diffusion_jax.api import run_summary

    found = run_summary.describe(options.run)
    print(json.dumps(found, indent=2) if options.json else run_summary.text(found, every_setting=options.all))
    return 0
