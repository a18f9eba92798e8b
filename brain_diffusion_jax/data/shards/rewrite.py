"""Shards with other images and the same records: latents in place of images, for one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.shards.reader import MANIFEST, open_split
from brain_diffusion_jax.errors import InputError

# Stored images [b, *spatial, channels] to arrays [b, *contract.shape].
Change = Callable[[np.ndarray], np.ndarray]


def rewrite_shards(
    source: str | Path,
    out: str | Path,
    contract: Contract,
    change: Change,
    *,
    beside: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the shards of `source` with `change` of their images as folder `out`, whole or not at all.

    Records keep their order, split, conditions, person, scan and window. contract: of the new shards; its shape and
    stored_dtype are those of what `change` gives, else InputError is raised. beside: JSON files by name, written too.
    progress: (records done, all records).
    """
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    source, manifest = Path(source), files.read_json(Path(source) / MANIFEST, "manifest", dict)
    total = sum(item["records"] for items in manifest["splits"].values() for item in items)
    done = 0
    written: dict[str, list[dict[str, Any]]] = {}
    with files.replacing_folder(out) as part:
        for split, items in manifest["splits"].items():
            opened, first, written[split] = open_split(source, split), 0, []
            for number, item in enumerate(items):
                name = f"{split}-{number:05d}-of-{len(items):05d}.array_record"
                writer = ArrayRecordWriter(str(part / name), "group_size:1")
                for start in range(0, item["records"], batch_size):
                    count = min(batch_size, item["records"] - start)
                    rows = np.arange(first + start, first + start + count)
                    images = np.ascontiguousarray(change(opened.batch(rows)["image"]), contract.stored_dtype)
                    if images.shape != (count, *contract.shape):
                        raise InputError(out, "image", images.shape[1:], contract.shape)
                    for record, image in zip(opened.raw(rows), images, strict=True):
                        example = tf_example_pb2.Example.FromString(record)
                        example.features.feature["image"].bytes_list.value[0] = image.tobytes()
                        writer.write(example.SerializeToString())
                    done += count
                    if progress is not None:
                        progress(done, total)
                writer.close()
                first += item["records"]
                size = (part / name).stat().st_size
                written[split].append({"file": name, "bytes": size, "records": item["records"]})
            conditions = f"conditions_{split}.npz"
            shutil.copyfile(source / conditions, part / conditions)
        for name, items in (beside or {}).items():
            files.write_json(part / name, items)
        contract.save(part)
        files.write_json(part / MANIFEST, {"splits": written, "fingerprint": contract.fingerprint}, indent=1)
    return Path(out)
