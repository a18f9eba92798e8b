"""A script that completes commands and options in a shell, through shtab (extra `completion`)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from brain_diffusion_jax.errors import InputError

SHELLS = ("bash", "zsh", "tcsh")


def parser(
    commands: Mapping[str, str], declare: Callable[[str, argparse.ArgumentParser], Any]
) -> argparse.ArgumentParser:
    """One parser of all commands and their options, those of two words as commands of commands.

    commands: what each of them does. declare: adds the options of a command to a parser.
    """
    top = argparse.ArgumentParser(prog="brain-diffusion")
    groups = {"": top.add_subparsers()}
    for name, text in commands.items():
        group, _, last = name.rpartition(" ")
        if group not in groups:
            groups[group] = groups[""].add_parser(group, help="weights of other programs").add_subparsers()
        declare(name, groups[group].add_parser(last, help=text.replace("%", "%%")))
    return top


def script(
    words: Sequence[str], commands: Mapping[str, str], declare: Callable[[str, argparse.ArgumentParser], Any]
) -> str:
    """The script of the shell that is the one word; InputError for another, and where shtab is not installed."""
    if len(words) != 1 or words[0] not in SHELLS:
        raise InputError("command line", "--print-completion", " ".join(words), f"one of {', '.join(SHELLS)}")
    try:
        import shtab
    except ImportError:
        expected = 'pip install "brain-diffusion-jax[completion]"'
        raise InputError("command line", "--print-completion", "no package shtab", expected) from None
    return str(shtab.complete(parser(commands, declare), words[0]))
