"""`brain-diffusion`: finds the subcommand and imports it only then, so that --help is instant."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import inspect
import io
import os
import select
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn, TextIO

from brain_diffusion_jax import __version__
from brain_diffusion_jax.cli.output import with_out
from brain_diffusion_jax.cli.parsing import declare, parse
from brain_diffusion_jax.errors import InputError, nearest

# name: (module in brain_diffusion_jax.cli, with the class of its options where it is not Options; what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "phantom cohort to report, on this machine, in minutes"),
    "phantom": ("phantom", "write a cohort of procedurally made brains"),
    "prepare": ("prepare", "NIfTI volumes and a table to shards with a contract"),
    "inspect": ("inspect", "look at a cohort: contact sheet, histograms, quality flags"),
    "train": ("train", "train a diffusion model from a config"),
    "info": ("info", "what a run folder holds: config, contract, steps, best numbers"),
    "train-age": ("train.AgeOptions", "train the regressor that predicts age"),
    "predict-age": ("predict_age", "ages of people from their scans, after checking the scans"),
    "convert keras": ("convert_keras", "age regressors of Keras 2 and 3 to a run folder (DeepBrainNet)"),
    "convert monai": ("convert_monai", "DiffusionModelUNet of MONAI and GenerativeModels to a run folder, and back"),
    "convert monai-bundle": ("convert_monai_bundle", "a MONAI bundle of latent diffusion to two run folders"),
    "convert safetensors": ("convert_safetensors", "a run as one file with its model card, and back"),
    "publish": ("publish", "a model to the Hugging Face Hub, without anything of people"),
    "train-class": ("train.ClassOptions", "train the classifier that predicts classes"),
    "gate": ("gate", "accept or reject generated images by limits learned from real ones"),
    "train-gan": ("train.GanOptions", "train a GAN, the baseline"),
    "sample": ("sample", "synthetic images for given conditions"),
    "generate": ("generate", "a data set of synthetic volumes in BIDS layout"),
    "sweep": ("sweep", "one compiled call over guidance scales"),
    "explore": ("explore", "one HTML page with sliders for covariates and guidance"),
    "age-edit": ("age_edit", "a given slice or volume as it would look under another age, with an audit"),
    "evaluate": ("evaluate", "numbers for a folder of images beside real ones"),
    "study": ("study", "every guidance scale against real people, as a report"),
    "audit": ("audit", "people and look-alike images on both sides of a split"),
    "doctor": ("doctor", "what this machine has for the program, and that it works"),
}

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141  # as of a program that SIGPIPE ended


def _overview(names: Iterable[str] = COMMANDS) -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{COMMANDS[name][1]}" for name in names]
    return "\n".join(
        [
            "usage: brain-diffusion COMMAND [options]",
            "",
            "Train conditional diffusion models on brain MRI, sample from them, and learn how good they are.",
            "",
            "commands:",
            *lines,
            "",
            "brain-diffusion COMMAND --help explains one command; --version prints the version;",
            "--print-completion bash or zsh prints what completes commands and options.",
        ]
    )


class _Parser(argparse.ArgumentParser):
    """A mistake is answered in one line, not under the whole usage."""

    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("unrecognized arguments: ").split()
        loose = " ".join(word for word in words if "=" in word and not word.startswith("-"))
        if message.startswith("unrecognized") and loose and "--set" in self._option_string_actions:
            message += f"; conditions stand behind --set, as in --set {loose}"
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {message} (--help explains)\n")


def split_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """("convert monai", the rest) or ("sample", the rest) of the words of a command line."""
    two = " ".join(words[:2])
    return (two, list(words[2:])) if two in COMMANDS else (words[0], list(words[1:]))


class Command(NamedTuple):
    """run: the options to an exit status. parse: words to options. next_step: a command for the user to go on with.

    description: what --help says above the options.
    """

    run: Callable[[Any], int]
    parse: Callable[[Sequence[str]], Any]
    next_step: Callable[[Any], str]
    description: str


def command(name: str, parser: argparse.ArgumentParser | None = None) -> Command:
    """A subcommand; raises InputError for an unknown one. parser: to declare its options on (default: a new one)."""
    if name not in COMMANDS:
        raise InputError("command line", "COMMAND", name, nearest(name, COMMANDS))
    place, _, options = COMMANDS[name][0].partition(".")
    module = importlib.import_module(f"brain_diffusion_jax.cli.{place}")
    declared = getattr(module, options or "Options")
    description = inspect.cleandoc((declared.__doc__ if options else module.__doc__) or "")
    if parser is None:
        formatter = argparse.RawDescriptionHelpFormatter
        parser = _Parser(prog=f"brain-diffusion {name}", description=description, formatter_class=formatter)
    declare(parser, declared)
    next_step = getattr(module, "next_step", lambda options: "")
    return Command(module.run, functools.partial(parse, parser, declared), next_step, description)


def main(argv: Sequence[str] | None = None, *, next_steps: bool = True) -> int:
    """Run one subcommand; returns the exit status (2: bad input or no room, 130: interrupted, 141: closed pipe).

    next_steps: whether it ends by saying on stderr what to do next.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = f"brain-diffusion {words[0]}" if words and not words[0].startswith("-") else "brain-diffusion"
    _print_everything()
    try:
        with _home(), _plain_warnings():
            try:
                return _main(words, next_steps)
            finally:
                sys.stdout.flush()
    except InputError as error:
        return _fail(name, error)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    except MemoryError as error:
        return _fail(name, f"out of memory {error}".strip())
    except OSError as error:
        if _drop_dead_streams() and isinstance(error, BrokenPipeError):
            return EXIT_CLOSED_PIPE
        where = f"{error.filename}: " if error.filename is not None else ""
        return _fail(name, f"{where}{error.strerror or error}")


def _main(words: list[str], next_steps: bool) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"brain-diffusion-jax {__version__}")
        return 0
    if words[0] == "--print-completion":
        from brain_diffusion_jax.cli.completion import script

        print(script(words[1:], {name: text for name, (_, text) in COMMANDS.items()}, command))
        return 0
    name, rest = split_command(words)
    group = [known for known in COMMANDS if known.startswith(f"{name} ")]
    if group and rest[:1] in ([], ["-h"], ["--help"]):
        print(_overview(group))
        return 0
    chosen = command(name)
    try:
        options = chosen.parse(rest)
    except SystemExit as ended:  # argparse has said why
        return int(ended.code or 0)
    placed = with_out(options)
    status = chosen.run(placed) or 0
    if status == 0 and placed is not options and getattr(options, "json", False):
        print(f"--out {placed.out}", file=sys.stderr)  # without --json the command has said it
    told = next_steps and status == 0 and not getattr(options, "json", False)
    if told and (text := chosen.next_step(placed)):
        sys.stdout.flush()
        print(f"next: {text}", file=sys.stderr)
    return status


def _fail(name: str, why: object) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"{name}: error: {why}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _print_everything() -> None:
    """Let a terminal that knows ASCII or Latin-1 only show other characters escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_dead_streams() -> bool:
    """Whether nobody takes what stdout or stderr write, as after `| head -1`; they write to nowhere from now on."""
    dead = [stream for stream in (sys.stdout, sys.stderr) if _is_dead(stream)]
    for stream in dead:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(dead)


def _is_dead(stream: TextIO) -> bool:
    try:
        if hasattr(select, "poll"):  # not on Windows
            watch = select.poll()
            watch.register(stream.fileno(), 0)
            if any(event & select.POLLERR for _, event in watch.poll(0)):
                return True
        stream.flush()
    except io.UnsupportedOperation:  # no file behind it
        return False
    except OSError:
        return True
    return False


@contextlib.contextmanager
def _home() -> Iterator[None]:
    """A home folder for libraries that insist on one, where the user has none (a bare uid in a container)."""
    if os.path.isabs(os.path.expanduser("~")):
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            del os.environ["HOME"]


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings for users as a line of text, without the place in the program where they arose."""
    before = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        return f"warning: {message}\n" if category is UserWarning else before(message, category, *where, **more)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


if __name__ == "__main__":
    sys.exit(main())
