"""The tensorflow_datasets builder of shards (no TensorFlow); imported only when writing.

One builder serves both engines: "local" streams the parts that a process pool has prepared, "beam"
prepares each entry inside a Beam worker. Records, keys and their order within a split are the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.prepare import part_pool
from brain_diffusion_jax.data.shards.splits import SplitSpec, assign_slice
from brain_diffusion_jax.data.sources.source import Entry, Examples, Measured, Source
from brain_diffusion_jax.errors import InputError

NAME = "brain_pictures"
VERSION = "1.0.0"


@dataclass(frozen=True)
class Plan:
    """splits: name -> entries. names: id -> file of the finished part in `parts`; empty: entries are prepared then.

    measured: adds covariates that are read off the examples.
    """

    source: Source
    contract: Contract
    split: SplitSpec
    splits: Mapping[str, Sequence[Entry]]
    parts: Path
    names: Mapping[str, str]
    measured: Measured | None = None


def features(contract: Contract) -> tfds.features.FeaturesDict:
    """The fields of a record; "person", "scan" and "slice_index" are an entry's group, id and index."""

    def raw(shape, kind):
        return tfds.features.Tensor(shape=shape, dtype=kind, encoding=tfds.features.Encoding.BYTES)

    count = len(contract.schema.covariates)
    return tfds.features.FeaturesDict(
        {
            "image": raw(contract.shape, np.dtype(contract.stored_dtype)),
            "values": raw((count,), np.float32),
            "present": raw((count,), np.uint8),
            "window": raw((2,), np.float32),
            "person": tfds.features.Text(),
            "scan": tfds.features.Text(),
            "slice_index": np.int32,
        }
    )


def records(
    entry: Entry, examples: Examples, contract: Contract, spec: SplitSpec, split: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, record) of the examples of one entry that belong to `split`."""
    if examples.images.shape[1:] != contract.shape:
        found, wanted = (
            shape[:-1] if shape[-1] == contract.channels else shape
            for shape in (examples.images.shape[1:], contract.shape)
        )
        hint = " as the first scan; set prepare.grid=mni or a prepare.fit rule" if contract.kind != "pictures" else ""
        raise InputError(entry.path, "picture size", found, f"{wanted}{hint}")
    count = len(examples.images)
    columns = examples.supplied.items()
    supplied = [{name: v for name, values in columns if (v := values[i].item()) == v} for i in range(count)]
    known = {name: value for name, value in entry.conditions.items() if name in contract.schema.names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cohort has warned about its ages, once
        condition = contract.schema.encode([{**known, **own} for own in supplied])
    for i, index in enumerate(map(int, examples.indices)):
        if spec.unit == "slice" and assign_slice(entry.group, entry.id, index, spec) != split:
            continue
        yield (
            f"{entry.id}/{index:05d}",
            {
                "image": examples.images[i],
                "values": condition.values[i],
                "present": condition.present[i].astype(np.uint8),
                "window": np.asarray(examples.window, np.float32),
                "person": entry.group,
                "scan": entry.id,
                "slice_index": np.int32(index),
            },
        )


def _measured(plan: Plan, examples: Examples) -> Examples:
    return examples if plan.measured is None else plan.measured.supply(examples)


def _prepare_in_worker(entry: dict[str, Any], plan: Plan, split: str):
    """Beam: read, prepare and yield one entry; a bad one fails the job or is left out, as chosen."""
    item = Entry(**{**entry, "path": Path(entry["path"])})
    try:
        yield from records(item, _measured(plan, plan.source.prepare(item)), plan.contract, plan.split, split)
    except InputError:
        if not plan.source.drop_bad:
            raise


class _OwnInfo(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Nothing: the public bucket knows no such set, and the question leaves a folder in the temporary one."""


class BrainPictures(tfds.core.GeneratorBasedBuilder):
    """Images with their conditions, in ArrayRecord."""

    VERSION = tfds.core.Version(VERSION)
    name = NAME

    def __init__(self, *, plan: Plan, **options: Any) -> None:
        self._plan = plan
        super().__init__(file_format="array_record", **options)

    def _info(self) -> tfds.core.DatasetInfo:
        return _OwnInfo(
            builder=self,
            description="Images made from scans or pictures; see contract.json beside this folder.",
            features=features(self._plan.contract),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split, entries) for split, entries in self._plan.splits.items()}

    def _generate_examples(self, split: str, entries: Sequence[Entry]):
        plan = self._plan
        if plan.names:
            prepared = ((e, _measured(plan, part_pool.load_part(plan.parts / plan.names[e.id]))) for e in entries)
            return (pair for item in prepared for pair in records(*item, plan.contract, plan.split, split))
        import apache_beam as beam

        # Absolute, or a worker with another working directory would not find the file.
        items = [{**entry._asdict(), "path": str(entry.path.resolve())} for entry in entries]
        arguments = {"plan": replace(plan, splits={}, names={}), "split": split}
        # Reshuffle, or the runner fuses Create and FlatMap into one worker.
        return beam.Create(items) | beam.Reshuffle() | beam.FlatMap(_prepare_in_worker, **arguments)
