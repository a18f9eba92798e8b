"""Batches for training: Grain over ArrayRecord, deterministic, resumable, sharded by process.

The order of images depends on the seed and the GLOBAL batch only. Process p of P gets the rows
[p * b, (p + 1) * b) of each global batch, b = batch_size / P, so a run may go on with another
number of processes and still see the same global batches.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import grain
import numpy as np

from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.data.shards.reader import ShardSource, open_split, read_all
from brain_diffusion_jax.errors import InputError, refusing
from brain_diffusion_jax.seeds import check_seed

__all__ = ["Loader", "read_all"]
_STATE_VERSION = 1
_AHEAD = 2**28  # pixels of batches that are read before they are asked for


class Loader:
    """Iterator of batches dict(image [b, *spatial, channels] as stored, values f32[b, n], present bool[b, n]).

    batch_size: images of a global batch; divisible by process_count. shuffle: one permutation of
    all images an epoch (people mixed), anew each epoch; batches run on across epochs. repeat:
    endless; without it the last, smaller batch is left out where it cannot be shared evenly.
    mirror: probability of a left-right flip (not for sagittal images). class_balance: a covariate
    whose categories (or deciles of its domain) are drawn equally often, with replacement.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        batch_size: int,
        seed: int = 0,
        *,
        process_index: int = 0,
        process_count: int = 1,
        shuffle: bool = True,
        repeat: bool = True,
        mirror: float = 0.0,
        class_balance: str | None = None,
        threads: int = 2,
        prefetch: int = 8,
    ) -> None:
        self.source: ShardSource = open_split(folder, split)
        self.contract = self.source.contract
        count = len(self.source)
        if batch_size < 1 or batch_size % process_count or not 0 <= process_index < process_count:
            found = f"{batch_size} for process {process_index} of {process_count}"
            raise InputError("data", "batch_size", found, "a positive multiple of the number of processes")
        if not repeat and count < batch_size and process_count > 1:
            raise InputError(folder, split, f"{count} pictures", f"at least one batch of {batch_size}")
        if not 0 <= mirror <= 1:
            raise InputError("data", "mirror", mirror, "a probability in [0, 1]")
        axis = self.contract.left_right_axis
        if mirror and axis is None:
            raise InputError("data", "mirror", mirror, "0: a sagittal picture has no left and right")
        self.batch_size, self.local_batch_size = batch_size, batch_size // process_count
        self._identity = {
            "version": _STATE_VERSION,
            "split": split,
            "fingerprint": self.contract.fingerprint,
            "shard_lengths": list(self.source.lengths),
            "batch_size": batch_size,
            "seed": check_seed(seed, "data"),
            "shuffle": shuffle,
            "repeat": repeat,
            "mirror": mirror,
            "class_balance": class_balance,
        }
        weights = _balance_weights(self.source, class_balance) if class_balance else None
        rows = slice(process_index * self.local_batch_size, (process_index + 1) * self.local_batch_size)
        positions = grain.MapDataset.range(count).seed(seed)
        if weights is not None:
            positions = positions.random_map(_WeightedDraw(weights))
        elif shuffle:
            positions = positions.shuffle()
        if repeat:
            positions = positions.repeat()
        batches = positions.batch(batch_size, drop_remainder=repeat or process_count > 1)
        dataset = batches.random_map(_ReadBatch(self.source, rows, mirror, axis or 0))
        self.steps_per_epoch = max(1, count // batch_size)
        # Of volumes a few batches fill the memory that hundreds of batches of slices would.
        batch_pixels = self.local_batch_size * math.prod(self.contract.shape)
        ahead = max(1, min(max(prefetch, threads), _AHEAD // batch_pixels))
        options = grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead)
        self._dataset = dataset.to_iter_dataset(options)
        self._iterator = iter(self._dataset)
        self._yielded = 0

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        try:
            batch = next(self._iterator)
        except InputError as error:  # without what Grain adds to the message
            raise InputError(error.where, error.field, error.found, error.expected) from error
        self._yielded += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """What `set_state` needs, JSON-able; the next batch after it is the next one of this moment."""
        return {**self._identity, "batches": self._yielded}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `get_state` was called, with any number of processes.

        Raises InputError where data, shards, seed, global batch or augmentation are others: the
        batches would silently be others too.
        """
        for name, mine in self._identity.items():
            if state.get(name) != mine:
                raise InputError("loader state", name, state.get(name), f"{mine}, as this loader has it")
        self._yielded = int(state["batches"])
        iterator = iter(self._dataset)
        iterator.set_state({**iterator.get_state(), "next_index": self._yielded})
        self._iterator = iterator

    def __len__(self) -> int:
        """Pictures in the split."""
        return len(self.source)


class _WeightedDraw(grain.transforms.RandomMap):
    """A position drawn by weight, whatever position comes in."""

    def __init__(self, weights: np.ndarray) -> None:
        self._edges = np.cumsum(weights / weights.sum())

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        return min(int(np.searchsorted(self._edges, rng.random(), side="right")), len(self._edges) - 1)


class _ReadBatch(grain.transforms.RandomMap):
    """Positions of a global batch to this process's rows of it, mirrored at random."""

    def __init__(self, source: ShardSource, rows: slice, mirror: float, axis: int) -> None:
        self._source, self._rows, self._mirror, self._axis = source, rows, mirror, axis

    def random_map(self, element: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
        batch = self._source.batch(element[self._rows])
        if self._mirror:
            # Drawn for the global batch, so that it does not depend on the number of processes.
            flip = (rng.random(len(element)) < self._mirror)[self._rows]
            batch["image"][flip] = np.flip(batch["image"][flip], 1 + self._axis)
        return batch


def read_conditions(source: ShardSource, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(values, present) [records, count] of a split, from the one file that holds them all."""
    path = source.folder / f"conditions_{source.split}.npz"
    shape = (len(source), count)
    with refusing(path, "file", "the file that `prepare` wrote"):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
        if unpacked > 8 * len(source) * count + 4096:  # a few MB can unpack to gigabytes
            raise InputError(path, "size", f"{unpacked} bytes unpacked", f"two arrays of {shape}, as in the shards")
        with np.load(path, allow_pickle=False) as items:
            values, present = items["values"], items["present"]
    if values.shape != shape or present.shape != shape:
        raise InputError(path, "records", (values.shape, present.shape), f"{shape}, as in the shards")
    return values, present


def _balance_weights(source: ShardSource, name: str) -> np.ndarray:
    """One weight a record: the inverse of how often its class occurs; absent is a class of its own."""
    schema: Schema = source.contract.schema
    column = schema.names.index(schema[name].name)
    values, present = (array[:, column] for array in read_conditions(source, len(schema.names)))
    deciles = not isinstance(schema[name], Categorical)
    classes = np.clip(values * 10, 0, 9).astype(int) if deciles else values.astype(int)
    classes = np.where(present, classes, -1)
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return 1.0 / counts[inverse]
