"""Models on the Hugging Face Hub: `hf://owner/name`, or `hf://owner/name@revision` (extra `hub`).

A published file is unpacked once, into a run folder of the cache, under the hash of the file.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from brain_diffusion_jax import files
from brain_diffusion_jax.conversion.safetensors_file import PUBLISHED
from brain_diffusion_jax.errors import InputError, one_line

_ADDRESS = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")  # a Path makes one slash of two
_PREFIX = re.compile(r"hf:/")


class Publication(NamedTuple):
    """files: name to bytes; notes: what is to be said of them; url: where they are, "" where nothing was sent."""

    files: dict[str, int]
    notes: list[str]
    url: str = ""


def publish(
    run: str | Path,
    to: str,
    *,
    step: int | None = None,
    ema: bool = True,
    public: bool = False,
    dry_run: bool = False,
) -> Publication:
    """Write what `publishing.stage` lets through of a run to the hub, or into a new folder.

    to: hf://owner/name, or a folder. public: a new repository is open to everybody; else to its owner alone. dry_run:
    nothing is sent or written. Raises InputError for what may not be published, and where the hub refuses.
    """
    from brain_diffusion_jax.api import publishing

    repository = _repository(to)
    hub = _hub(to) if repository and not dry_run else None
    if not repository and not dry_run:
        with files.replacing_folder(to) as folder:
            notes = publishing.stage(Path(run), folder, PUBLISHED, step=step, ema=ema)
            return Publication(_listed(folder, publishing.FILES), notes, str(to))
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        notes = publishing.stage(Path(run), folder, to, step=step, ema=ema)
        found = Publication(_listed(folder, publishing.FILES), notes)
        if hub is None or repository is None:
            return found
        with _refusing(to):
            client = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
            client.create_repo(repository[0], private=not public, exist_ok=True)
            client.upload_folder(
                repo_id=repository[0],
                folder_path=folder,
                revision=repository[1],
                allow_patterns=list(publishing.FILES),
                commit_message="brain-diffusion publish",
            )
        return found._replace(url=f"hf://{repository[0]}")


def run_folder(path: str | Path) -> Path:
    """The run folder behind a path: of hf://owner/name, of a published folder or file; other paths as they are."""
    if (repository := _repository(path)) is not None:
        hub = _hub(str(path))
        with _refusing(str(path)):
            file = hub.hf_hub_download(
                repository[0],
                PUBLISHED,
                revision=repository[1],
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        return _unpacked(Path(file), repository[0].split("/")[1])
    path = Path(path)
    if path.suffix == ".safetensors" and path.is_file():
        return _unpacked(path, path.stem)
    published = path / PUBLISHED
    return _unpacked(published, path.name) if published.is_file() and not (path / "checkpoints").exists() else path


def _repository(address: str | Path) -> tuple[str, str | None] | None:
    """(owner/name, revision) of an address; None for a path; InputError for a broken address."""
    text = str(address)
    if not _PREFIX.match(text):
        return None
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise InputError("hub", "address", text, "hf://owner/name, or hf://owner/name@revision")
    return found[1], found[2]


def _hub(address: str) -> ModuleType:
    try:
        # By name: a plain import has the type Any where the extra is not installed.
        return import_module("huggingface_hub")
    except ImportError:
        expected = 'the extra `hub`: pip install "brain-diffusion-jax[hub]"'
        raise InputError(address, "huggingface_hub", "not installed", expected) from None


@contextmanager
def _refusing(address: str) -> Iterator[None]:
    """What the hub or the network says, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # its exceptions have no base of their own
        expected = "a repository that you may use, and a token (`hf auth login`, or $HF_TOKEN) where it is needed"
        raise InputError(address, "hub", one_line(error), expected) from error


def _listed(folder: Path, allowed: tuple[str, ...]) -> dict[str, int]:
    """Names and bytes of what lies there; nothing else may."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*"))}
    assert not set(sizes) - set(allowed)
    return sizes


def _unpacked(file: Path, name: str) -> Path:
    from brain_diffusion_jax.api import conversions

    cache = files.cache_folder("models")
    if cache is None:
        expected = "one, for what is unpacked; or `brain-diffusion convert safetensors FILE --out RUN`"
        raise InputError(file, "home folder", "none", expected)
    folder = cache / files.sha256(file)[:32] / name
    if not (folder / "config.json").is_file():
        conversions.unpack(file, folder)
    return folder


def text(found: Publication, to: str) -> str:
    """A publication in words."""
    lines = [f"{size:>12,}  {name}" for name, size in found.files.items()]
    end = f"published: {found.url}" if found.url else f"nothing was sent (--dry-run); these files would go to {to}"
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes), end])


def summary(found: Publication) -> dict[str, Any]:
    """A publication as JSON."""
    return {"files": found.files, "notes": found.notes, "url": found.url}
