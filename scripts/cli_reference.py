"""A hook of mkdocs: puts what every command's --help says into the page that holds MARK. Nothing of it is stored.

Needs the package's sources and nothing that the package requires: parsers load neither jax nor numpy.
"""

from __future__ import annotations

import argparse
import functools
from typing import Any

from brain_diffusion_jax.cli.main import COMMANDS, command

MARK = "<!-- commands -->"
WIDTH = 84  # columns of a help text, as wide as a page


def help_of(name: str) -> str:
    """What `brain-diffusion NAME --help` prints, for a terminal of WIDTH columns."""
    formatter = functools.partial(argparse.RawDescriptionHelpFormatter, width=WIDTH)
    parser = argparse.ArgumentParser(prog=f"brain-diffusion {name}", formatter_class=formatter)
    parser.description = command(name, parser).description
    return parser.format_help()


def reference() -> str:
    """Markdown with a section a command, in the order of `brain-diffusion --help`."""
    sections = [f"## {name}\n\n{text[0].upper()}{text[1:]}.\n" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        f"{section}\n```text\n{help_of(name)}```\n" for section, name in zip(sections, COMMANDS, strict=True)
    )


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs with the text of each page; returns the text to render."""
    return markdown.replace(MARK, reference()) if MARK in markdown else markdown
