"""A griffe extension for the documentation site: docstrings are plain text with code spans, not Markdown.

Without it `[batch, *spatial, channels]` would lose its asterisks to italics.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SPAN = re.compile(r"(`[^`]*`)")


def as_markdown(text: str) -> str:
    """The docstring with what Markdown would take for a sign escaped; code spans and indented lines are left alone."""
    return "\n".join(line if line.startswith("    ") else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return "".join(part if part.startswith("`") else re.sub(r"([*_<])", r"\\\1", part) for part in SPAN.split(line))


class PlainText(griffe.Extension):
    """Escapes the docstrings of everything that griffe reads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe with each module, class, function and attribute once it is complete."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
