"""What this machine has for the program, and that a tiny training step works; for bug reports too.

brain-diffusion doctor
brain-diffusion doctor --json     # no paths, no names: it may be posted as it is
"""

from __future__ import annotations

from brain_diffusion_jax.cli.parsing import OptionGroup, option


class Options(OptionGroup):
    """How much is asked."""

    no_step: bool = option("do not run the tiny step", False)
    json: bool = option("print JSON and nothing else", False)


def run(options: Options) -> int:
    """Print what was found; exit status 1 where the tiny step went wrong."""
    import json

    from brain_diffusion_jax.api import diagnosis

    found = diagnosis.describe(step=not options.no_step)
    print(json.dumps(found, indent=2) if options.json else diagnosis.text(found))
    return 0 if found.get("step", {"finite": True})["finite"] else 1
