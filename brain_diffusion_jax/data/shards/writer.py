"""Writing prepared shards: parts of single entries first, then ArrayRecord through tensorflow_datasets.

Folder: contract.json, shards.json (files, sizes, records; written last, so it marks a finished
set), scans.csv, dropped.csv and the tensorflow_datasets folder. While work is going on, finished
entries lie in .prepare/parts: a killed prepare continues from them, and no half shard is ever used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import math
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import contract as contracts
from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.prepare import part_pool
from brain_diffusion_jax.data.shards import splits
from brain_diffusion_jax.data.shards.reader import MANIFEST, ShardSource, open_split, parse_record, read_all
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.source import Entry, Examples, Measuring, Source
from brain_diffusion_jax.data.table import write_table
from brain_diffusion_jax.errors import InputError

WORK = ".prepare"
_READ = 2**26  # bytes of images in memory at a time where every record is read once more
Progress = Callable[[int, int], None]

__all__ = ["ShardSource", "open_split", "read_all", "working_folder", "write_shards"]


def write_shards(
    folder: str | Path,
    source: Source,
    split: SplitSpec,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    engine: str = "local",
    beam_options: list[str] | None = None,
    measuring: Measuring | None = None,
) -> Contract:
    """Prepare every entry of the source and write the shards and their contract into `folder`.

    engine: "local" (a pool of `workers` processes) or "beam" (`beam_options` as apache_beam takes them on its
    command line). measuring: covariates to be read off the examples. Called again after an interruption, it
    continues. Raises InputError for a folder that holds something else, an entry that cannot be prepared (unless
    the source drops those), an empty split and a full disk; finished parts are kept in all these cases.
    """
    folder = Path(folder)
    with working_folder(folder) as work:
        if split.unit == "slice":
            warnings.warn(splits.SLICE_WARNING, stacklevel=2)
        contract = source.contract()
        if split.unit == "slice" and contract.kind != "slices":
            raise InputError("split", "unit", "slice", f"person: {contract.kind} have no slices")
        entries, dropped = source.entries(), list(source.dropped)
        names: dict[str, str] = {}
        if engine == "local":
            _require_space(folder, len(entries), contract)
            report = progress or (lambda done, of: None)
            done = part_pool.prepare_parts(source, work / "parts", workers=workers, progress=report)
            dropped += done.bad
            names = {entry.id: name for entry, name in done.parts}
            entries = [entry for entry, _ in done.parts]
        by_split = splits.split_entries(entries, split, contract.schema, source.where)
        own = contracts.Split.from_json({**split.section().to_json(), **contract.split.to_json()})
        contract = dataclasses.replace(contract, split=own)
        measured = None
        if measuring is not None:
            load = _loader(source, work / "parts", names)
            measured = measuring.fitted(by_split["train"], load, contract, source.where)
            contract = measured.described(contract)
            measured.save(folder)
        _build(folder, engine, beam_options, source, contract, split, by_split, work / "parts", names, measured)
        return _finish(folder, work, contract, split, source.entries(), dropped)


def _loader(source: Source, parts: Path, names: Mapping[str, str]) -> Callable[[Entry], Examples]:
    """A function to the examples of an entry: its finished part, or, where there are no parts, prepared anew."""
    return (lambda entry: part_pool.load_part(parts / names[entry.id])) if names else source.prepare


@contextlib.contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """The folder's work area, locked; refuses a folder that holds something else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "--out", "a file", "a new or empty folder")
    if (folder / MANIFEST).exists():
        raise InputError(folder, "--out", "a finished set of shards", "a new folder; delete this one to prepare again")
    work = folder / WORK
    held = [path.name for path in folder.iterdir()] if folder.exists() else []
    if held and not work.is_dir():
        raise InputError(folder, "--out", f"a folder that holds {sorted(held)[:4]}", "a new or empty folder")
    try:
        (work / "parts").mkdir(parents=True, exist_ok=True)
        lock = files.open_to_append(work / "lock")
    except OSError as error:
        raise InputError(folder, "--out", error.strerror or error, "a folder that may be written to") from error
    try:
        files.hold(lock, InputError(folder, "--out", "another prepare at work in it", "one prepare a folder"))
        try:
            yield work
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            expected = "free space; finished scans are kept, start the same command again"
            raise InputError(folder, "disk", "no space left", expected) from error
    finally:
        lock.close()


def _require_space(folder: Path, entries: int, contract: Contract) -> None:
    count = 1 if contract.kind != "slices" else len(contract.slices.indices or range(100))
    image = math.prod(contract.shape) * np.dtype(contract.stored_dtype).itemsize
    # The parts, the shuffle buffer and the shards of tensorflow_datasets stand side by side for a while.
    needed = int(3.2 * entries * count * image)
    free = shutil.disk_usage(folder).free
    if free < needed:
        expected = f"about {needed / 2**30:.2f} GiB while preparing"
        raise InputError(folder, "disk", f"{free / 2**30:.2f} GiB free", expected)


def _build(folder: Path, engine: str, beam_options: list[str] | None, *plan: Any) -> None:
    """Run the tensorflow_datasets builder; what an earlier, interrupted run left is removed first."""
    import logging

    import tensorflow_datasets as tfds

    from brain_diffusion_jax.data.shards import builder

    # Only complete sets are kept, and shards.json (not there yet) marks those.
    shutil.rmtree(folder / builder.NAME, ignore_errors=True)
    options: dict[str, Any] = {"try_download_gcs": False}  # a cohort is nobody's to look for in Google's bucket
    if engine == "beam":
        try:
            from apache_beam.options.pipeline_options import PipelineOptions
        except ImportError:
            expected = "pip install brain-diffusion-jax[beam]"
            raise InputError("--beam", "apache_beam", "not installed", expected) from None
        # Explicit, or Beam would parse this process's own command line.
        options["beam_options"] = PipelineOptions(beam_options or [])
    logging.getLogger("absl").setLevel(logging.WARNING)
    tfds.disable_progress_bar()
    builder = builder.BrainPictures(plan=builder.Plan(*plan), data_dir=str(folder))
    config = tfds.download.DownloadConfig(**options)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints about downloads; there are none
        try:
            builder.download_and_prepare(download_dir=str(folder / WORK / "downloads"), download_config=config)
        except Exception as error:
            raise _in_plain_words(error, folder) from error


def _in_plain_words(error: Exception, folder: Path) -> Exception:
    """The InputError behind what tensorflow_datasets, ArrayRecord or Beam made of it, or the error itself."""
    if isinstance(error, InputError):
        return error
    text = str(error)
    # Beam carries exceptions between workers as text.
    pattern = r"InputError: (.+?): ([^:]+): found (.*?); expected (.*?)(?: \[while|$)"
    if carried := re.search(pattern, text, re.MULTILINE):
        return InputError(*carried.groups())
    if "No space left" in text or "Disk quota" in text:
        return OSError(errno.ENOSPC, text)  # the C++ writer of ArrayRecord has no errno
    if "No examples were yielded" in text:
        return InputError(folder, "split", "a split without any picture", "pictures in each split; add people or scans")
    return error


def _finish(
    folder: Path,
    work: Path,
    contract: Contract,
    split: SplitSpec,
    entries: Sequence[Entry],
    dropped: list[tuple[str, str]],
) -> Contract:
    """Read every record once: manifest, fingerprint, counts and scans.csv come from what is on disk."""
    from array_record.python.array_record_module import ArrayRecordReader

    manifest: dict[str, list] = {}
    total = 0
    measured = [n for n in contract.measured.get("covariates", ()) if n in contract.schema.names]
    columns = [contract.schema.names.index(name) for name in measured]
    image = math.prod(contract.shape) * np.dtype(contract.stored_dtype).itemsize
    batch = max(1, min(256, _READ // image))
    scans: dict[tuple[str, str, str], list] = {}
    index: dict[str, dict[str, list]] = {}
    for path in sorted(folder.glob("brain_pictures/*/*.array_record*")):
        name = path.name.split("-")[1].split(".")[0]
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:16M")
        count = reader.num_records()
        if count != (meant := _meant_records(path, name)):
            raise InputError(path, "records", count, f"{meant} as written; is the disk sound? prepare again")
        rows = index.setdefault(name, {"values": [], "present": []})
        for start in range(0, count, batch):
            for record in reader.read(list(range(start, min(count, start + batch)))):
                item = parse_record(record)
                fields = [item[key] for key in ("image", "values", "present", "window", "person", "scan")]
                fields.append(str(item["slice_index"]).encode())
                digest = hashlib.sha256(b"".join(len(f).to_bytes(8, "big") + f for f in fields)).digest()
                total = (total + int.from_bytes(digest, "big")) % 2**256  # whatever the order of records
                key = (item["person"].decode(), item["scan"].decode(), name)
                window = np.frombuffer(item["window"], np.float32)
                values, present = np.frombuffer(item["values"], np.float32), np.frombuffer(item["present"], np.uint8)
                cells = [_measured(contract, column, values, present) for column in columns]
                scans.setdefault(key, [0, *window.tolist(), *cells])[0] += 1
                rows["values"].append(values)
                rows["present"].append(present)
        reader.close()
        file = {"file": str(path.relative_to(folder)), "bytes": path.stat().st_size, "records": count}
        manifest.setdefault(name, []).append(file)
    splits.require_no_empty((name for name, shards in manifest.items() if shards), split, folder)
    written = {scan for _, scan, _ in scans}
    named = {name for name, _ in dropped}
    dropped += [
        (entry.id, "could not be prepared (see the worker's log)")
        for entry in entries
        if entry.id not in written and entry.id not in named
    ]
    for name, rows in index.items():
        present = np.stack(rows["present"]).astype(bool)
        files.write_npz(folder / f"conditions_{name}.npz", values=np.stack(rows["values"]), present=present)
    _write_tables(folder, scans, dropped, measured)
    counts: dict[str, Any] = {
        name: {
            "people": len({p for p, _, s in scans if s == name}),
            "scans": len({c for _, c, s in scans if s == name}),
            "pictures": sum(shard["records"] for shard in shards),
        }
        for name, shards in manifest.items()
    }
    reasons = Counter(reason.split(":")[0] for _, reason in dropped)
    counts["dropped"] = dict(sorted(reasons.items()))
    contract = dataclasses.replace(contract, counts=counts, fingerprint=f"sha256:{total:064x}")
    contract.save(folder)
    files.write_json(folder / MANIFEST, {"splits": manifest, "fingerprint": contract.fingerprint}, indent=1)
    shutil.rmtree(work, ignore_errors=True)
    return contract


def _meant_records(path: Path, split: str) -> int:
    """How many records tensorflow_datasets says it wrote into a shard."""
    info = files.read_json(path.parent / "dataset_info.json")
    lengths = next(item["shardLengths"] for item in info["splits"] if item["name"] == split)
    return int(lengths[int(path.name.split("-")[-3])])


def _measured(contract: Contract, column: int, values: np.ndarray, present: np.ndarray) -> str:
    """A covariate of a record in its unit, with six digits; "" where it is absent."""
    covariate = contract.schema.covariates[column]
    return f"{covariate.decode(float(values[column])):.6g}" if present[column] else ""


def _write_tables(
    folder: Path, scans: dict[tuple[str, str, str], list], dropped: list[tuple[str, str]], measured: list[str]
) -> None:
    header = ["person", "scan", "split", "pictures", "intensity_low", "intensity_high", *measured]
    write_table(folder / "scans.csv", header, ([*key, *values] for key, values in sorted(scans.items())))
    write_table(folder / "dropped.csv", ["row_or_file", "reason"], dropped)
