"""Random access to prepared shards, checked when opened."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Condition
from brain_diffusion_jax.errors import InputError, nearest
from brain_diffusion_jax.json_types import require_types

MANIFEST = "shards.json"
FIELDS = ("image", "values", "present", "window", "person", "scan", "slice_index")
# Records are read by position, so reading ahead is wasted work.
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


def load_manifest(folder: str | Path) -> dict[str, Any]:
    """What `shards.write_shards` recorded: {"splits": {name: [{"file", "bytes", "records"}]}}."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        state = "an unfinished prepare" if (Path(folder) / ".prepare").exists() else "no shards"
        raise InputError(folder, "shards", state, "a folder finished by `brain-diffusion prepare`")
    manifest = files.read_json(path, "manifest")
    require_types(manifest, {"splits": dict[str, list[dict[str, Any]]]}, path)
    if "splits" not in manifest:
        raise InputError(path, "splits", "nothing", "the shards of each split")
    for name, items in manifest["splits"].items():
        for item in items:
            require_types(item, {"file": str, "bytes": int, "records": int}, path, f"splits.{name}: ")
            if not {"file", "bytes", "records"} <= set(item) or item["records"] < 0:
                raise InputError(path, f"splits.{name}", str(item)[:80], "file, bytes and records of a shard")
    return manifest


def parse_record(record: bytes) -> dict[str, Any]:
    """The raw fields of one record: bytes, or an int for slice_index."""
    from tensorflow_datasets.proto import tf_example_pb2

    fields = tf_example_pb2.Example.FromString(record).features.feature
    return {
        name: (fields[name].int64_list.value[0] if name == "slice_index" else fields[name].bytes_list.value[0])
        for name in FIELDS
    }


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the C++ reader raises several kinds
        raise InputError(path, "records", f"unreadable ({error})", "a whole shard; prepare again") from error


class ShardSource:
    """The records of one split, by position. Opens its files on first use, in each process anew.

    A record is dict(image [*spatial, channels], values float32[n], present bool[n], window float32[2] =
    intensities stored as 0 and full scale, person str, scan str, slice_index int).
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        self.folder, self.split = Path(folder), split
        splits = load_manifest(folder)["splits"]  # first: it says more about an unfinished folder
        self.contract = Contract.load(folder)
        if split not in splits:
            raise InputError(folder, "split", split, nearest(split, splits))
        self.files = splits[split]
        for item in self.files:
            path = self.folder / item["file"]
            size = path.stat().st_size if path.is_file() else None
            if size != item["bytes"]:
                found = "no such file" if size is None else f"{size} bytes"
                raise InputError(path, "size", found, f"{item['bytes']} bytes; run prepare again or copy it again")
            if not 0 <= item["records"] <= size:
                raise InputError(path, "records", item["records"], f"no more than its {size} bytes can hold")
        self.lengths = [int(item["records"]) for item in self.files]
        self._ends = np.cumsum(self.lengths)
        covariates = (len(self.contract.schema.covariates),)
        self._types = {
            "image": (np.dtype(self.contract.stored_dtype), self.contract.shape),
            "values": (np.dtype(np.float32), covariates),
            "present": (np.dtype(np.bool_), covariates),
            "window": (np.dtype(np.float32), (2,)),
        }
        self._readers: list[Any] = [None] * len(self.files)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.lengths else 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": [None] * len(self.files)}

    def _reader(self, number: int):
        if self._readers[number] is None:
            from array_record.python.array_record_module import ArrayRecordReader

            path = self.folder / self.files[number]["file"]
            with _readable(path):
                reader = ArrayRecordReader(str(path), _OPTIONS)
                found = reader.num_records()
            if found != self.lengths[number]:
                raise InputError(path, "records", found, f"{self.lengths[number]}; prepare again")
            self._readers[number] = reader
        return self._readers[number]

    def raw(self, positions: Sequence[int] | np.ndarray) -> list[bytes]:
        """Serialized records at `positions`, one read a shard."""
        wanted = np.asarray(positions, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"positions {wanted.min()}..{wanted.max()} of {len(self)} records")
        shard = np.searchsorted(self._ends, wanted, side="right")
        out: list[bytes] = [b""] * len(wanted)
        for number in np.unique(shard):
            places = np.flatnonzero(shard == number)
            first = self._ends[number] - self.lengths[number]
            reader = self._reader(number)
            with _readable(self.folder / self.files[number]["file"]):
                records = reader.read([int(wanted[p] - first) for p in places])
            for place, record in zip(places, records, strict=True):
                out[place] = record
        return out

    def records(self, positions: Sequence[int] | np.ndarray, names: Sequence[str] = FIELDS) -> dict[str, Any]:
        """The fields `names` of the records at `positions`, stacked; person and scan are lists of str.

        Raises InputError where a field is not as large as the contract says.
        """
        parsed = [parse_record(record) for record in self.raw(positions)]
        return {name: self._stacked(name, [item[name] for item in parsed]) for name in names}

    def batch(self, positions: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """image [b, *spatial, channels], values [b, n], present [b, n] at `positions`; the fast way in."""
        return self.records(positions, FIELDS[:3])

    def _stacked(self, name: str, values: list[Any]) -> Any:
        if name in ("person", "scan"):
            return [value.decode() for value in values]
        if name == "slice_index":
            return np.array(values, np.int32)
        dtype, shape = self._types[name]
        size = dtype.itemsize * math.prod(shape)
        for value in values:
            if len(value) != size:
                expected = f"{size}, by contract.json: {shape}"
                raise InputError(self.folder, f"{name} of {self.split}", f"{len(value)} bytes", expected)
        raw = bytearray(b"".join(values))  # writable memory
        return np.frombuffer(raw, dtype).reshape(len(values), *shape)

    def __getitem__(self, position: int) -> dict[str, Any]:
        record = {name: values[0] for name, values in self.records([position]).items()}
        return {**record, "slice_index": int(record["slice_index"])}


def open_split(folder: str | Path, split: str) -> ShardSource:
    """Random access to one split; raises InputError for missing, truncated or foreign shards."""
    return ShardSource(folder, split)


def read_all(folder: str | Path, split: str) -> dict[str, Any]:
    """The whole split in memory, ordered by person, scan and slice.

    dict(image [n, *spatial, channels] as stored, values [n, k], present [n, k], person list[str], scan
    list[str], slice_index int32[n], conditions list[dict]).
    """
    source = open_split(folder, split)
    records = source.records(range(len(source)), [name for name in FIELDS if name != "window"])
    order = sorted(
        range(len(source)), key=lambda i: tuple(records[name][i] for name in ("person", "scan", "slice_index"))
    )
    result = {k: [v[i] for i in order] if isinstance(v, list) else v[order] for k, v in records.items()}
    result["conditions"] = source.contract.schema.decode(Condition(result["values"], result["present"]))
    return result
