"""Files, in one place: written whole or not at all and never through a symbolic link; read with an error that
names the file and what is wrong in it.

A failed write leaves what was there before and no part of the new file. OSError (full or read-only disk) passes
through: `cli.main` turns it into one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from brain_diffusion_jax.errors import InputError

if TYPE_CHECKING:
    import numpy as np

PART = ".part"  # ending of every temporary name; `*.part` is never a result
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def part_path(path: str | Path) -> Path:
    """A name beside `path` that nobody can foresee: `.NAME.<random>.part`, shortened to what file systems take."""
    path = Path(path)
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}{PART}")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A new binary file that takes the place of `path` when the block ends without an exception.

    The folder is made where it is missing. A `path` that is a symbolic link is replaced, not followed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """UTF-8, whatever the locale; line ends as they are in `text`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, items: Any, *, indent: int | None = 2) -> None:
    write_text(path, json.dumps(items, indent=indent, default=str) + "\n")


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    import numpy as np

    with replacing(path) as file:
        np.savez(file, **arrays)


def write_npy(path: str | Path, array: np.ndarray) -> None:
    import numpy as np

    with replacing(path) as file:
        np.save(file, array)


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """picture: uint8 [rows, cols] or [rows, cols, 3]."""
    from PIL import Image

    with replacing(path) as file:
        Image.fromarray(picture).save(file, format="PNG")


def open_to_append(path: str | Path) -> IO[str]:
    """`path` opened at its end as UTF-8 text; a symbolic link in its place is refused."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    require_no_link(path)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_FOLLOW, 0o666), "a", encoding="utf-8")


def require_no_link(path: str | Path) -> None:
    """Raise InputError where `path` is a symbolic link: what is written there would land in another file."""
    if os.path.islink(path):
        raise InputError(path, "file", f"a symbolic link to {os.readlink(path)}", "a plain file")


def read_text(path: str | Path, what: str = "file", *, expected: str = "a text file that may be read") -> str:
    """UTF-8 text of `path`, without a byte-order mark; InputError where it is missing, unreadable or not UTF-8."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        dangling = os.path.islink(path)
        raise InputError(path, what, "a link to nothing" if dangling else "no such file", expected) from None
    except OSError as error:
        raise InputError(path, what, error.strerror or error, expected) from error
    except UnicodeDecodeError as error:
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise InputError(path, what, f"line {line}: byte 0x{byte:02x} is not UTF-8", "UTF-8 text") from None


def read_json(
    path: str | Path,
    what: str = "file",
    kind: type | tuple[type, ...] = dict,
    *,
    expected: str = "a file written by `brain-diffusion`",
) -> Any:
    """The JSON of `path`, of type `kind`; InputError names what is missing, broken or of another type."""
    return parse_json(read_text(path, what, expected=expected), path, what, kind)


def parse_json(text: str, where: object, what: str = "file", kind: type | tuple[type, ...] = dict) -> Any:
    """`read_json` of text that is already here; `where` stands in messages."""
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(where, what, f"broken JSON (line {error.lineno}: {error.msg})", "JSON") from None
    except RecursionError:
        raise InputError(where, what, "JSON nested thousands deep", "JSON") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise InputError(where, what, f"broken JSON ({str(error)[:80]})", "JSON") from None
    if not isinstance(items, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = {dict: "an object", list: "a list", str: "text"}
        wanted = " or ".join(names.get(k, k.__name__) for k in kinds)
        raise InputError(where, what, f"{type(items).__name__} in JSON", wanted)
    return items


def read_json_lines(path: str | Path) -> tuple[list[dict[str, Any]], list[str]]:
    """(objects, complaints) of a file with one JSON object a line. A line that is none is left out and named."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    found: list[dict[str, Any]] = []
    complaints: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(parse_json(line.decode("utf-8"), path, f"line {number}"))
        except UnicodeDecodeError as error:
            complaints.append(f"{path}: line {number}: byte {error.start} is not UTF-8")
        except InputError as error:
            complaints.append(str(error))
    return found, complaints


def write_json_lines(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
