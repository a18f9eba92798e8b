"""Folders PATH/<step>/<item> that Orbax writes, each with the checksums of its files from the moment it appears.

Orbax writes a step elsewhere and renames it when whole, so that a killed save leaves nothing that is taken for a
step. Just before it renames, checksums.json goes into the step: whatever is damaged later is found before it is
read. Steps without it (converted or saved by 0.1) are read unchecked.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError

CHECKSUMS = "checksums.json"
_WRITTEN_LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")  # by Orbax, while it renames


class StepFolders:
    """Asynchronous saves below one folder; used alike by all processes. options: of ocp.CheckpointManagerOptions."""

    def __init__(self, path: str | Path, **options: Any) -> None:
        import orbax.checkpoint as ocp

        self.path = Path(path).absolute()
        self._saving: int | None = None
        summed = ocp.options.AsyncOptions(post_finalization_callback=self._before_it_appears)
        every = ocp.CheckpointManagerOptions(cleanup_tmp_directories=True, async_options=summed, **options)
        self._orbax = ocp.CheckpointManager(self.path, options=every)

    def steps(self) -> list[int]:
        """Steps that are finished, ascending."""
        return sorted(self._orbax.all_steps())

    def save(self, step: int, items: Mapping[str, Any]) -> None:
        """Begin to save; items: name -> Orbax's save arguments. A step that is there already is replaced."""
        import orbax.checkpoint as ocp

        self.wait()
        if step in self.steps():
            self.delete(step)
        self._saving = step
        # Forced, because Orbax otherwise passes over a step below its highest one, in silence.
        self._orbax.save(step, args=ocp.args.Composite(**items), force=True)

    def restore(self, step: int, items: Mapping[str, Any]) -> Any:
        """items: name -> Orbax's restore arguments."""
        import orbax.checkpoint as ocp

        return self._orbax.restore(step, args=ocp.args.Composite(**items))

    def delete(self, step: int) -> None:
        self._orbax.delete(step)

    def wait(self) -> None:
        """Return when the save under way is whole on disk."""
        self._orbax.wait_until_finished()
        if self._saving is not None and jax.process_index() == 0:
            folder = self.path / str(self._saving)
            if folder.is_dir() and not (folder / CHECKSUMS).exists():  # an Orbax with other names for its parts
                write_checksums(folder)
        self._saving = None

    def close(self) -> None:
        self._orbax.close()

    def _before_it_appears(self) -> None:
        if jax.process_index() == 0:
            for part in self.path.glob(f"{self._saving}.*tmp*"):
                write_checksums(part)


def write_checksums(folder: Path) -> None:
    """Size and CRC of every file of a step into its checksums.json."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in (CHECKSUMS, *_WRITTEN_LATER))
    files.write_json(folder / CHECKSUMS, {str(p.relative_to(folder)): _checksum(p) for p in found}, indent=None)


def damage(folder: Path, items: Collection[str] = ()) -> str:
    """What is wrong with the files of a step, or of some of its items; "" if nothing, or if it has no checksums."""
    path = folder / CHECKSUMS
    if not path.exists():
        return ""
    try:
        sums = files.read_json(path, CHECKSUMS)
    except InputError as error:
        return f"{CHECKSUMS}: {error.found}"
    for name, expected in sums.items():
        if items and name.partition("/")[0] not in items:
            continue
        file = folder / name
        try:
            if _checksum(file) != expected:
                return f"{name}: {file.stat().st_size} bytes that are not those written"
        except OSError as error:
            return f"{name}: {'missing' if isinstance(error, FileNotFoundError) else error.strerror}"
    return ""


def _checksum(path: Path) -> list[int]:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return [path.stat().st_size, value]
