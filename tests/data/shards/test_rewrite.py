"""Shards with other images: the records, their order and their splits stay; a failure leaves nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import small_shards

from brain_diffusion_jax.data.shards import reader
from brain_diffusion_jax.data.shards.loader import Loader
from brain_diffusion_jax.data.shards.rewrite import rewrite_shards
from brain_diffusion_jax.errors import InputError


def doubled(images):
    return np.concatenate([images, images], axis=-1).astype(np.float32) / 2


def test_images_change_and_nothing_else(tmp_path):
    source = small_shards.write_blobs(tmp_path / "source", (4, 5, 3))
    contract = replace(reader.open_split(source, "train").contract, channels=2, stored_dtype="float32", fingerprint="x")
    told = []
    out = rewrite_shards(
        source,
        tmp_path / "out",
        contract,
        doubled,
        beside={"note.json": {"a": 1}},
        batch_size=3,
        progress=lambda done, total: told.append((done, total)),
    )
    for split in reader.load_manifest(source)["splits"]:
        old, new = reader.open_split(source, split), reader.open_split(out, split)
        assert len(old) == len(new)
        for row in range(len(old)):
            before, after = old[row], new[row]
            np.testing.assert_array_equal(after["image"], doubled(before["image"]))
            for name in ("values", "present", "window"):
                np.testing.assert_array_equal(after[name], before[name])
            assert [after[k] for k in ("person", "scan", "slice_index")] == [
                before[k] for k in ("person", "scan", "slice_index")
            ]
    assert told[-1] == (12, 12)
    assert json.loads((out / "note.json").read_text()) == {"a": 1}
    batch = next(Loader(out, "train", 4, seed=0, class_balance="sex"))
    assert batch["image"].shape == (4, 4, 5, 3, 2)
    assert reader.open_split(out, "train").contract.fingerprint == "x"


def test_another_shape_is_refused_and_leaves_no_folder(tmp_path):
    source = small_shards.write_blobs(tmp_path / "source")
    contract = reader.open_split(source, "train").contract
    with pytest.raises(InputError, match="image"):
        rewrite_shards(source, tmp_path / "out", contract, doubled)
    assert not (tmp_path / "out").exists()
