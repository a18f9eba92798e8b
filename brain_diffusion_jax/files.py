"""Files, in one place: written whole or not at all and never through a symbolic link; read with an error that
names the file and what is wrong in it.

A failed write leaves what was there before and no part of the new file. OSError (full or read-only disk) passes
through: `cli.main` turns it into one line. Part files of a killed process have unforeseeable names, so they are in
nobody's way; a living writer holds a lock on its part, so that the others can be removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from brain_diffusion_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import numpy as np

PART = ".part"  # ending of every temporary name; `*.part` is never a result
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_WINDOWS = os.name == "nt"  # opens no folder as a file and renames nothing onto one


def part_path(path: str | Path) -> Path:
    """A name beside `path` that nobody can foresee: `.NAME.<random>.part`, shortened to what file systems take."""
    path = Path(path)
    return path.with_name(f".{_short(path.name)}.{secrets.token_hex(6)}{PART}")


def _short(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:100])


@contextlib.contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """A new binary file that takes the place of `path` when the block ends without an exception.

    The folder is made where it is missing. A `path` that is a symbolic link is replaced, not followed.
    sync: wait until the disk has it; not worth the time for one of thousands of images.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(path)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666)
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            _claim(descriptor)
            yield file
            file.flush()
            if sync:
                os.fsync(descriptor)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """A fresh folder beside `path` that becomes `path` when the block ends without an exception.

    `path` must be new or an empty folder. What killed calls left beside it is removed.
    """
    require_new_folder(path)
    path = Path(os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    part = part_path(path)
    part.mkdir()
    descriptor = None if _WINDOWS else os.open(part, os.O_RDONLY | _NO_FOLLOW)
    try:
        if descriptor is not None:
            _claim(descriptor)
        yield part
        if _WINDOWS and path.is_dir():
            path.rmdir()
        os.rename(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def require_new_folder(path: str | Path, field: str = "output folder") -> None:
    """Raise InputError unless `path` is free or an empty folder; a link to one counts as taken."""
    require_no_link(path, field)
    if os.path.isdir(path) and os.listdir(path):
        raise InputError(path, field, "something already there", "a new or empty folder")
    if os.path.exists(path) and not os.path.isdir(path):
        raise InputError(path, field, "a file", "a new or empty folder")


def require_writable(path: str | Path, field: str = "output") -> None:
    """Raise InputError where `path` cannot be written, or made and filled: for a check before long work.

    Leaves nothing behind, not even folders that are missing.
    """
    path = Path(os.path.abspath(path))
    there = next(p for p in (path, *path.parents) if os.path.lexists(p) or p == p.parent)
    try:
        for name in path.parts[len(there.parts) :]:
            with contextlib.suppress(FileNotFoundError):
                os.lstat(there / name)  # a name that is too long
        if there.is_dir():
            trial = part_path(there / "trial")
            os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666))
            trial.unlink()
        elif there == path:
            os.close(os.open(path, os.O_WRONLY))
        else:
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file")
    except OSError as error:
        raise InputError(path, field, error.strerror or error, "a place that can be written") from error


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Errors of the disk within it name `path` where they name nothing."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno:
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise


def remove_leftovers(folder: str | Path, name: str | None = None) -> None:
    """Remove part files and folders of killed writers in `folder`, those of `name` or of all names."""
    start = "." if name is None else f".{_short(name)}."
    with os.scandir(folder) as entries:
        parts = [e.path for e in entries if e.name.startswith(start) and e.name.endswith(PART)]
    for part in parts:
        try:
            descriptor = os.open(part, os.O_RDONLY | _NO_FOLLOW)
        except OSError:  # removed meanwhile, or a link
            continue
        try:
            lock(descriptor)
            shutil.rmtree(part) if os.path.isdir(part) else os.unlink(part)
        except OSError:  # its writer lives, or nobody can tell
            pass
        finally:
            os.close(descriptor)


def sha256(path: str | Path) -> str:
    """The hash of a file, in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder(name: str) -> Path | None:
    """~/.cache/brain-diffusion/NAME; None without a home (a bare uid in a container)."""
    home = Path(os.path.expanduser("~"))
    return home / ".cache" / "brain-diffusion" / name if home.is_absolute() else None


def lock(file: int | IO[Any]) -> None:
    """Lock an open file or folder until it is closed.

    Raises BlockingIOError where another process has it, another OSError where the disk or the system has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "no file locks on this system")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _claim(descriptor: int) -> None:
    """Lock a part while its writer lives; file systems without locks keep leftovers."""
    with contextlib.suppress(OSError):
        lock(descriptor)


def hold(file: IO[Any], refusal: InputError) -> None:
    """Lock a file while it is open; raises `refusal` where another process has it. Not every network disk has locks."""
    with contextlib.suppress(OSError):
        try:
            lock(file)
        except BlockingIOError:
            raise refusal from None


def write_bytes(path: str | Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """UTF-8, whatever the locale; line ends as they are in `text`."""
    write_bytes(path, _utf8(text))


def readable(text: str) -> str:
    """Text of a path for people and fonts, also where the locale could not read all of it."""
    return _utf8(text).decode("utf-8")


def _utf8(text: str) -> bytes:
    """What the locale could not read of a path stands as the bytes that it has, where they are UTF-8."""
    with contextlib.suppress(UnicodeError):
        data = text.encode("utf-8", "surrogateescape")
        data.decode("utf-8")
        return data
    return text.encode("utf-8", "backslashreplace")


def write_json(path: str | Path, items: Any, *, indent: int | None = 2) -> None:
    write_text(path, json.dumps(items, indent=indent, default=str) + "\n")


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    import numpy as np

    with replacing(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def write_npy(path: str | Path, array: np.ndarray) -> None:
    import numpy as np

    with replacing(path) as file:
        np.save(file, array)


def write_png(path: str | Path, image: np.ndarray) -> None:
    """image: uint8 [rows, cols] or [rows, cols, 3]."""
    from PIL import Image

    with replacing(path, sync=False) as file:
        Image.fromarray(image).save(file, format="PNG")


def open_to_append(path: str | Path, *, binary: bool = False) -> IO[Any]:
    """`path` opened at its end, as UTF-8 text or binary; a symbolic link in its place is refused."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    require_no_link(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _NO_FOLLOW, 0o666)
    return os.fdopen(descriptor, "ab") if binary else os.fdopen(descriptor, "a+", encoding="utf-8", newline="")


def require_plain_tree(folder: str | Path, field: str = "folder to write in") -> None:
    """Raise InputError where anything below `folder` is neither a plain file nor a folder.

    A folder from elsewhere may hold links; what is written through them would change files outside it.
    """
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(place, name)
            require_no_link(path, field)
            if name in names and not os.path.isfile(path):
                raise InputError(path, field, "no plain file", "plain files and folders")


def require_no_link(path: str | Path, field: str = "file") -> None:
    """Raise InputError where `path` is a symbolic link: what is written there would land in another place."""
    if os.path.islink(path):
        raise InputError(path, field, f"a symbolic link to {os.readlink(path)}", "no link")


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
        names: dict[Any, str] = {dict: "an object", list: "a list", str: "text"}
        wanted = " or ".join(names.get(k, k.__name__) for k in kinds)
        raise InputError(where, what, f"{type(items).__name__} in JSON", wanted)
    return items


def read_json_lines(path: str | Path) -> tuple[list[dict[str, Any]], list[str]]:
    """(objects, complaints) of a file with one JSON object a line. A line that is none is left out and named.

    A last line without its end was being written when its process died; nothing is said of it.
    """
    try:
        *lines, _ = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path}: {error.strerror}"]
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
