"""Writing prepared shards: parts of single scans first, then ArrayRecord through tensorflow_datasets.

Folder: contract.json, shards.json (files, sizes, records; written last, so it marks a finished
set), scans.csv, dropped.csv and the tensorflow_datasets folder. While work is going on, finished
scans lie in .prepare/parts: a killed prepare continues from them, and no half shard is ever used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import __version__, files
from brain_diffusion_jax import contract as contracts
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.data.prepare import part_pool, pipeline
from brain_diffusion_jax.data.prepare.slicing import DISPLAY
from brain_diffusion_jax.data.shards import splits
from brain_diffusion_jax.data.shards.reader import MANIFEST, ShardSource, open_split, parse_record, read_all
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.cohort import Cohort, Scan
from brain_diffusion_jax.data.table import write_table
from brain_diffusion_jax.errors import InputError

WORK = ".prepare"
Progress = Callable[[int, int], None]

__all__ = [
    "ShardSource",
    "build",
    "finish",
    "open_split",
    "read_all",
    "split_entries",
    "working_folder",
    "write_shards",
]


def write_shards(
    folder: str | Path,
    cohort: Cohort,
    preparation: pipeline.Preparation,
    split: SplitSpec,
    schema: Schema,
    *,
    source: str = "",
    workers: int = 1,
    progress: Progress | None = None,
    engine: str = "local",
    beam_options: list[str] | None = None,
) -> Contract:
    """Prepare every scan of the cohort and write the shards and their contract into `folder`.

    source: a line for the contract saying where the data come from. engine: "local" (a pool of
    `workers` processes) or "beam" (`beam_options` as apache_beam takes them on its command line).
    Called again after an interruption, it continues. Raises InputError for a folder that holds
    something else, a scan that cannot be prepared (unless preparation.bad_scans is "drop"), an
    empty split and a full disk; finished parts are kept in all these cases.
    """
    folder = Path(folder)
    with working_folder(folder) as work:
        splits.warn_about_unit(split)
        dropped = list(cohort.dropped)
        size, native = _sizes(cohort, preparation, dropped)
        if engine == "beam":
            scans = [(scan, "") for scan in cohort.scans]
        else:
            _require_space(folder, cohort, preparation, size)
            done = part_pool.prepare_parts(
                cohort.scans, preparation, work / "parts", workers=workers, progress=progress or (lambda done, of: None)
            )
            dropped += done.bad
            scans = list(done.parts)
        entries = split_entries(scans, split, schema, cohort.table)
        plan = {
            "engine": engine,
            "parts": str((work / "parts").resolve()),
            "schema": schema.to_json(),
            "split": dataclasses.asdict(split),
            "preparation": preparation.to_json(),
            "bad_scans": preparation.bad_scans,
            "image_size": list(size),
            "dtype": preparation.rule.dtype,
            "splits": entries,
        }
        build(folder, plan, beam_options)
        contract = _contract(preparation, split, schema, size, native, source)
        return finish(folder, work, contract, split, cohort, dropped)


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
        with contextlib.suppress(ImportError, OSError):  # not on Windows, nor on every network disk
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(folder, "--out", "another prepare at work in it", "one prepare a folder") from None
        try:
            yield work
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(
                folder, "disk", "no space left", "free space; finished scans are kept, start the same command again"
            ) from error
    finally:
        lock.close()


def _sizes(cohort: Cohort, preparation: pipeline.Preparation, dropped: list) -> tuple[tuple, tuple]:
    for scan in cohort.scans:
        try:
            return pipeline.expected_sizes(preparation, scan)
        except InputError as error:
            if preparation.bad_scans != "drop" or preparation.fixed_grid() is not None:
                raise
            last = error
    raise last


def _require_space(folder: Path, cohort: Cohort, preparation: pipeline.Preparation, size: tuple[int, ...]) -> None:
    grid = preparation.fixed_grid()
    count = len(preparation.slicing.indices(grid.shape, grid.affine)) if grid else 100
    picture = int(np.prod(size)) * np.dtype(preparation.rule.dtype).itemsize
    # The parts, the shuffle buffer and the shards of tensorflow_datasets stand side by side for a while.
    needed = int(3.2 * len(cohort.scans) * count * picture)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            folder, "disk", f"{free / 2**30:.2f} GiB free", f"about {needed / 2**30:.2f} GiB while preparing"
        )


def split_entries(scans: list[tuple[Scan, str]], spec: SplitSpec, schema: Schema, table: Path) -> dict[str, list]:
    """split -> JSON entries of its scans; with split.unit=slice every scan is in every split."""

    def entry(scan: Scan, part: str) -> dict[str, Any]:
        # Absolute, or a Beam worker with another working directory would not find it.
        path = str(scan.path.resolve())
        return {**scan._asdict(), "path": path, "part": part}

    if spec.unit == "slice":
        return {name: [entry(*s) for s in scans] for name in splits.NAMES if getattr(spec, name) > 0}
    strata = _strata([scan for scan, _ in scans], spec, schema)
    where = splits.assign((scan.person for scan, _ in scans), spec, strata)
    splits.require_no_empty(where.values(), spec, table)
    names = [name for name in splits.NAMES if getattr(spec, name) > 0]
    return {name: [entry(*s) for s in scans if where[s[0].person] == name] for name in names}


def _strata(scans: list[Scan], spec: SplitSpec, schema: Schema) -> dict[str, tuple] | None:
    """Stratum of each person: tenths of a continuous domain, the word of a category (first scan's)."""
    if not spec.stratify:
        return None
    strata: dict[str, tuple] = {}
    for scan in scans:
        if scan.person in strata:
            continue
        key: list[object] = []
        for name in spec.stratify:
            covariate, value = schema[name], scan.covariates.get(name)
            if value is None or isinstance(covariate, Categorical):
                key.append(value)
            else:
                unit = (float(value) - covariate.low) / (covariate.high - covariate.low)
                key.append(int(np.clip(unit * 10, 0, 9)))
        strata[scan.person] = tuple(key)
    return strata


def build(folder: Path, plan: dict[str, Any], beam_options: list[str] | None) -> None:
    """Run the tensorflow_datasets builder; what an earlier, interrupted run left is removed first."""
    import logging

    import tensorflow_datasets as tfds

    from brain_diffusion_jax.data.shards import builder

    # Only complete sets are kept, and shards.json (not there yet) marks those.
    shutil.rmtree(folder / builder.NAME, ignore_errors=True)
    options: dict[str, Any] = {}
    if plan["engine"] == "beam":
        try:
            from apache_beam.options.pipeline_options import PipelineOptions
        except ImportError:
            raise InputError(
                "--beam", "apache_beam", "not installed", "pip install brain-diffusion-jax[beam]"
            ) from None
        # Explicit, or Beam would parse this process's own command line.
        options["beam_options"] = PipelineOptions(beam_options or [])
    logging.getLogger("absl").setLevel(logging.WARNING)
    tfds.disable_progress_bar()
    builder = builder.BrainPictures(plan=json.dumps(plan), data_dir=str(folder))
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
    if told := re.search(r"InputError: (.+?): ([^:]+): found (.*?); expected (.*?)(?: \[while|$)", text, re.MULTILINE):
        return InputError(*told.groups())
    if "No space left" in text or "Disk quota" in text:
        return OSError(errno.ENOSPC, text)  # the C++ writer of ArrayRecord has no errno
    if "No examples were yielded" in text:
        return InputError(folder, "split", "a split without any picture", "pictures in each split; add people or scans")
    return error


def _contract(preparation, split: SplitSpec, schema: Schema, size, native, source: str) -> Contract:
    grid = preparation.fixed_grid()
    slicing = preparation.slicing
    facts = contracts.Grid("native", spacing_mm=preparation.spacing_mm)
    where = contracts.SliceSet(slicing.axis, "index", slicing.to_json())
    if grid is not None:
        indices = slicing.indices(grid.shape, grid.affine)
        name = preparation.grid if isinstance(preparation.grid, str) else "box"
        facts = contracts.Grid(name, grid.shape, tuple(map(tuple, grid.affine.tolist())))
        positions = tuple(slicing.positions_mm(indices, grid.affine))
        where = dataclasses.replace(where, indices=tuple(indices), positions_mm=positions)
        covariate = schema["slice"] if "slice" in schema.names else None
        if isinstance(covariate, Continuous):
            values = positions if covariate.unit == "mm" else indices
            if min(values) < covariate.low or max(values) > covariate.high:
                warnings.warn(
                    f"prepare.slices: found {covariate.unit} {min(values):g} to {max(values):g}; the covariate "
                    f"'slice' expects {covariate.low:g} to {covariate.high:g}",
                    stacklevel=3,
                )
    return Contract(
        schema=schema,
        image_size=tuple(size),
        display=DISPLAY[slicing.axis],
        spacing_mm=preparation.spacing_mm,
        grid=facts,
        slices=where,
        fit=preparation.fitting.section(tuple(native) if grid is not None else None),
        intensity=preparation.rule.section(),
        stored_dtype=preparation.rule.dtype,
        split=split.section(),
        source=source,
        package_version=__version__,
    )


def finish(
    folder: Path, work: Path, contract: Contract, split: SplitSpec, cohort: Cohort, dropped: list[tuple[str, str]]
) -> Contract:
    """Read every record once: manifest, fingerprint, counts and scans.csv come from what is on disk."""
    from array_record.python.array_record_module import ArrayRecordReader

    manifest: dict[str, list] = {}
    total = 0
    scans: dict[tuple[str, str, str], list] = {}
    index: dict[str, dict[str, list]] = {}
    for path in sorted(folder.glob("brain_pictures/*/*.array_record*")):
        name = path.name.split("-")[1].split(".")[0]
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:16M")
        count = reader.num_records()
        if count != (meant := _meant_records(path, name)):
            raise InputError(path, "records", count, f"{meant} as written; is the disk sound? prepare again")
        rows = index.setdefault(name, {"values": [], "present": []})
        for start in range(0, count, 256):
            for record in reader.read(list(range(start, min(count, start + 256)))):
                item = parse_record(record)
                fields = [item[key] for key in ("image", "values", "present", "window", "person", "scan")]
                fields.append(str(item["slice_index"]).encode())
                digest = hashlib.sha256(b"".join(len(f).to_bytes(8, "big") + f for f in fields)).digest()
                total = (total + int.from_bytes(digest, "big")) % 2**256  # whatever the order of records
                key = (item["person"].decode(), item["scan"].decode(), name)
                window = np.frombuffer(item["window"], np.float32)
                scans.setdefault(key, [0, *window.tolist()])[0] += 1
                rows["values"].append(np.frombuffer(item["values"], np.float32))
                rows["present"].append(np.frombuffer(item["present"], np.uint8))
        reader.close()
        file = {"file": str(path.relative_to(folder)), "bytes": path.stat().st_size, "records": count}
        manifest.setdefault(name, []).append(file)
    splits.require_no_empty((name for name, shards in manifest.items() if shards), split, folder)
    written = {scan for _, scan, _ in scans}
    named = {name for name, _ in dropped}
    dropped += [
        (s.scan, "could not be prepared (see the worker's log)")
        for s in cohort.scans
        if s.scan not in written and s.scan not in named
    ]
    for name, rows in index.items():
        present = np.stack(rows["present"]).astype(bool)
        files.write_npz(folder / f"conditions_{name}.npz", values=np.stack(rows["values"]), present=present)
    _write_tables(folder, scans, dropped)
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


def _write_tables(folder: Path, scans: dict[tuple[str, str, str], list], dropped: list[tuple[str, str]]) -> None:
    header = ["person", "scan", "split", "pictures", "intensity_low", "intensity_high"]
    write_table(folder / "scans.csv", header, ([*key, *values] for key, values in sorted(scans.items())))
    write_table(folder / "dropped.csv", ["row_or_file", "reason"], dropped)
