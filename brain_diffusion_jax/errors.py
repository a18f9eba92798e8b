"""The one exception for bad input: it names the file, the field, what was found and what was expected."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Iterable, Iterator


class InputError(ValueError):
    """Bad input from the user; the command line prints it without a traceback and exits with 2.

    where: file or option; field: column, key or property in it.
    """

    def __init__(self, where: object, field: str, found: object, expected: object) -> None:
        self.where, self.field, self.found, self.expected = where, field, found, expected
        super().__init__(f"{where}: {field}: found {found}; expected {expected}")

    def __reduce__(self):  # so that worker processes can raise it
        return type(self), (self.where, self.field, self.found, self.expected)


def one_line(error: BaseException) -> str:
    """The message of an exception in one line, at most 160 characters unless it is an InputError."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text[:160]}"


@contextlib.contextmanager
def refusing(where: object, field: str, expected: str) -> Iterator[None]:
    """Whatever a foreign library raises inside it is an InputError that quotes it; an InputError passes as it is."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(where, field, one_line(error), expected) from error


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """A clause listing the known names closest to `name`, for messages about typos."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.4)
    return f"nearest: {', '.join(close)}" if close else f"known: {', '.join(names)}"


def require(right: object, field: str, found: object, expected: object, where: object = "config") -> None:
    """Raise InputError unless `right`."""
    if not right:
        raise InputError(where, field, found, expected)


def require_one_of(value: object, choices: Collection[str], where: object, field: str) -> None:
    """Raise InputError unless `value` is one of the names; the message lists few of them, or the nearest of many."""
    if value not in choices:
        *others, last = choices
        listed = f"{', '.join(others)} or {last}" if len(choices) < 4 else nearest(str(value), choices)
        raise InputError(where, field, value, listed)
