"""The same scans and pictures give the shard sets that 0.1 gave: pixels, conditions, keys and tables."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from small_cohort import PREPARE, SCHEMA, write_bids

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare.picture_prep import PicturePrep
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.shards.writer import write_shards
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.image_source import PicturesSpec, open_images
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices

QUARTERS = SplitSpec(train=0.5, validation=0.25, test=0.25, seed=1)
MILLIMETRES = Schema.from_json(
    [*SCHEMA.to_json()[:2], {"name": "slice", "unit": "mm", "low": -80, "high": 110}],
)
NATIVE = {
    "grid": "native",
    "spacing_mm": (),
    "axis": "coronal",
    "intensity": {"rule": "percentile", "dtype": "float32"},
    "slices": {"rule": "range_index", "start": 7, "stop": 9},
    # Not "resize": the order of its float32 sums, and so the last bit, is the processor's (0.1 alike).
    "fit": {"rule": "pad_crop", "size": (12, 10)},
}


def scans(folder, preparation, schema):
    cohort = read_cohort(CohortSpec(root=str(write_bids(folder / "bids"))), schema)
    return ScanSlices(cohort, Preparation(**preparation), schema)


def test_slices_of_one_grid(tmp_path):
    contract = write_shards(tmp_path / "out", scans(tmp_path, PREPARE, SCHEMA), QUARTERS)
    assert contract.fingerprint == "sha256:cfb3b17455510dd539d857471f8c90d691a72862b910f495c79c6840f4cba146"
    digests = {}
    for split in ("train", "validation", "test"):
        with np.load(tmp_path / "out" / f"conditions_{split}.npz") as items:
            assert items["present"].all()
            digests[split] = hashlib.sha256(items["values"].tobytes()).hexdigest()[:16]
    assert digests == {"train": "3181e1a2edb9d657", "validation": "71af54459ed1791b", "test": "a051a6916b3ba579"}
    assert (tmp_path / "out" / "scans.csv").read_text().splitlines()[:3] == [
        "person,scan,split,pictures,intensity_low,intensity_high",
        "sub-00,sub-00,validation,4,0.0,200.0",
        "sub-01,sub-01,train,4,0.0,200.0",
    ]


@pytest.mark.filterwarnings("ignore")
def test_slices_of_each_scans_own_grid_in_mm_split_by_slice(tmp_path):
    split = SplitSpec(unit="slice", train=0.5, validation=0, test=0.5, seed=1)
    contract = write_shards(tmp_path / "out", scans(tmp_path, NATIVE, MILLIMETRES), split)
    assert contract.fingerprint == "sha256:39cfef8271bcb8a5fd6d2edd33b5a9404c0e2b46eca02ecca90bef94ec1b6a85"
    assert contract.counts["train"] == {"people": 6, "scans": 6, "pictures": 9}


def test_pictures(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16), np.uint8)
    np.savez(tmp_path / "set.npz", images=images, label=np.array(["a", "b"] * 6))
    schema = Schema.from_json([{"name": "class", "values": ("a", "b")}])
    source = open_images(PicturesSpec(str(tmp_path / "set.npz"), prep=PicturePrep(size=16)), schema)
    contract = write_shards(tmp_path / "out", source, QUARTERS)
    assert contract.fingerprint == "sha256:3dff5b880f788642996cf2cf0d33a8f1f5007005c2ce9922481e5d7fb3594956"
    assert contract.to_json()["split"] == {
        **{"unit": "person", "seed": 1, "train": 0.5, "validation": 0.25, "test": 0.25, "stratify": []},
        **{"copies": "keep_one", "near_duplicate": 0.97},
    }
