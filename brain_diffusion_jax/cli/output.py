"""Where a command writes that was told no --out, and the page that it opens at the end."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from brain_diffusion_jax.files import require_writable

O = TypeVar("O")


def _names(path: Path) -> Iterator[Path]:
    """`path`, then NAME-2, NAME-3 ..., before the ending of a file."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return itertools.chain([path], numbered)


def next_free(path: Path) -> Path:
    """The first of NAME, NAME-2, NAME-3 ... that nothing has."""
    return next(name for name in _names(path) if not name.exists())


def newest(path: Path) -> Path:
    """The last of NAME, NAME-2, NAME-3 ... that is there; NAME where none is."""
    there = list(itertools.takewhile(Path.exists, _names(path)))
    return there[-1] if there else path


def with_out(options: O) -> O:
    """The options with an `out` that can be written: the one given, or a free name from their `default_out()`.

    With --resume it is the newest of those names. Options without `default_out` are left alone, and so are those for
    which it is None. Raises InputError where nothing can be written there.
    """
    given = getattr(options, "out", None)
    if given is None and (proposed := getattr(options, "default_out", lambda: None)()) is not None:
        given = newest(proposed) if getattr(options, "resume", False) else next_free(proposed)
        hint = next(field.type for field in dataclasses.fields(options) if field.name == "out")  # type: ignore[arg-type]
        options = dataclasses.replace(options, out=str(given) if str(hint).startswith("str") else given)  # type: ignore[type-var]
    if given:
        require_writable(given, "--out")
    return options


def open_page(path: str | Path) -> None:
    """Show an HTML file in the user's browser, where there is one."""
    import webbrowser

    webbrowser.open(Path(path).resolve().as_uri())
