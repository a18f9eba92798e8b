"""`brain-diffusion`: finds the subcommand and imports it only then, so that --help is instant."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from brain_diffusion_jax import __version__
from brain_diffusion_jax.errors import InputError, nearest

# name: (module in brain_diffusion_jax.cli, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "phantom cohort to report, on this machine, in minutes"),
    "phantom": ("phantom", "write a cohort of procedurally made brains"),
    "prepare": ("prepare", "NIfTI volumes and a table to shards with a contract"),
    "inspect": ("inspect", "look at a cohort: contact sheet, histograms, quality flags"),
    "train": ("train", "train a diffusion model from a config"),
    "info": ("info", "what a run folder holds: config, contract, steps, best numbers"),
    "train-age": ("train_age", "train the regressor that judges age"),
    "predict-age": ("predict_age", "ages of people from their scans, after checking the scans"),
    "convert": ("convert", "foreign weights to a run folder"),
    "train-class": ("train_class", "train the classifier that judges class fidelity"),
    "gate": ("gate", "accept or reject generated pictures by limits learned from real ones"),
    "train-gan": ("train_gan", "train the WGAN-GP baseline"),
    "sample": ("sample", "synthetic pictures for given conditions"),
    "sweep": ("sweep", "one compiled call over guidance scales"),
    "age-edit": ("age_edit", "a given slice as it would look under another age, with an audit"),
    "evaluate": ("evaluate", "numbers for a folder of pictures or a model"),
    "study": ("study", "every guidance scale against real people, as a report"),
    "audit": ("audit", "people and look-alike pictures on both sides of a split"),
}

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: brain-diffusion COMMAND [options]",
            "",
            "Train conditional diffusion models on brain MRI, sample from them, and learn how good they are.",
            "",
            "commands:",
            *lines,
            "",
            "brain-diffusion COMMAND --help explains one command; --version prints the version.",
        ]
    )


def command(name: str) -> tuple[Callable[[argparse.Namespace], int], Callable[[Sequence[str]], argparse.Namespace]]:
    """(run, parse) of a subcommand; raises InputError for an unknown one."""
    if name not in COMMANDS:
        raise InputError("command line", "COMMAND", name, nearest(name, COMMANDS))
    module = importlib.import_module(f"brain_diffusion_jax.cli.{COMMANDS[name][0]}")
    parser = argparse.ArgumentParser(
        prog=f"brain-diffusion {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    # section.key=value may stand anywhere among the options; argparse cannot do that with subcommands.
    return module.run, parser.parse_args if parser._subparsers else parser.parse_intermixed_args


def _at_home(arguments: argparse.Namespace) -> argparse.Namespace:
    """Arguments with the ~ that shells leave alone in --out=~/pictures."""
    for name, value in vars(arguments).items():
        if isinstance(value, str | os.PathLike) and str(value).startswith("~"):
            setattr(arguments, name, type(value)(os.path.expanduser(value)))  # type: ignore[call-arg]
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status (2: bad input, 130: interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"brain-diffusion-jax {__version__}")
        return 0
    name, rest = words[0], words[1:]
    try:
        run, parse = command(name)
        return run(_at_home(parse(rest))) or 0
    except InputError as error:
        print(f"brain-diffusion {name}: error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"brain-diffusion {name}: interrupted; what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
