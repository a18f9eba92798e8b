"""The tensorflow_datasets builder of picture shards (no TensorFlow); imported only when writing.

One builder serves both engines: "local" streams the parts that a process pool has prepared, "beam"
prepares each scan inside a Beam worker. Records, keys and their order within a split are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare import pipeline
from brain_diffusion_jax.data.shards.splits import SplitSpec, assign_slice
from brain_diffusion_jax.data.sources.cohort import Scan
from brain_diffusion_jax.errors import InputError

NAME = "brain_pictures"
VERSION = "1.0.0"


def features(image_size: list[int], dtype: str, num_covariates: int) -> tfds.features.FeaturesDict:
    def raw(shape, kind):
        return tfds.features.Tensor(shape=shape, dtype=kind, encoding=tfds.features.Encoding.BYTES)

    return tfds.features.FeaturesDict(
        {
            "image": raw((*image_size, 1), np.dtype(dtype)),
            "values": raw((num_covariates,), np.float32),
            "present": raw((num_covariates,), np.uint8),
            "window": raw((2,), np.float32),
            "person": tfds.features.Text(),
            "scan": tfds.features.Text(),
            "slice_index": np.int32,
        }
    )


def scan_from_json(items: dict[str, Any]) -> Scan:
    return Scan(items["person"], items["scan"], Path(items["path"]), dict(items["covariates"]))


def _keyed_examples(
    entry: dict[str, Any], prepared: pipeline.PreparedScan, plan: dict[str, Any], split: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, record) of the pictures of one scan that belong to `split`."""
    scan = scan_from_json(entry)
    spec = SplitSpec(**plan["split"])
    pipeline.require_size(prepared, plan["image_size"], scan.path)
    for example in pipeline.examples_of(scan, prepared, Schema.from_json(plan["schema"])):
        index = int(example["slice_index"])
        if spec.unit == "slice" and assign_slice(scan.person, scan.scan, index, spec) != split:
            continue
        example["present"] = example["present"].astype(np.uint8)
        yield f"{scan.scan}/{index:05d}", example


def _prepare_in_worker(entry: dict[str, Any], plan: dict[str, Any], split: str):
    """Beam: read, prepare and yield one scan; a bad scan fails the job or is left out, as chosen."""
    preparation = pipeline.Preparation(**plan["preparation"])
    try:
        prepared = pipeline.prepare_volume(entry["path"], preparation)
        yield from _keyed_examples(entry, prepared, plan, split)
    except InputError:
        if plan["bad_scans"] != "drop":
            raise


class _OwnInfo(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Nothing: the public bucket knows no such set, and the question leaves a folder in the temporary one."""


class BrainPictures(tfds.core.GeneratorBasedBuilder):
    """Pictures with their conditions, in ArrayRecord; `plan` is the JSON text that shards.py makes."""

    VERSION = tfds.core.Version(VERSION)
    name = NAME

    def __init__(self, *, plan: str, **options: Any) -> None:
        self._plan_text = plan
        super().__init__(file_format="array_record", **options)

    @property
    def plan(self) -> dict[str, Any]:
        return json.loads(self._plan_text)

    def _info(self) -> tfds.core.DatasetInfo:
        plan = self.plan
        return _OwnInfo(
            builder=self,
            description="Pictures cut from brain volumes; see contract.json beside this folder.",
            features=features(plan["image_size"], plan["dtype"], len(plan["schema"])),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split, entries) for split, entries in self.plan["splits"].items()}

    def _generate_examples(self, split: str, entries: list[dict[str, Any]]):
        plan = self.plan
        if plan["engine"] == "local":
            return self._from_parts(split, entries, plan)
        import apache_beam as beam

        small = {key: value for key, value in plan.items() if key != "splits"}
        # Reshuffle, or the runner fuses Create and FlatMap into one worker.
        return beam.Create(entries) | beam.Reshuffle() | beam.FlatMap(_prepare_in_worker, plan=small, split=split)

    @staticmethod
    def _from_parts(split: str, entries: list[dict[str, Any]], plan: dict[str, Any]):
        for entry in entries:
            prepared = pipeline.load_part(Path(plan["parts"]) / entry["part"])
            yield from _keyed_examples(entry, prepared, plan, split)
