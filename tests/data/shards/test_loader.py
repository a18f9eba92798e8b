from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_cohort import PREPARE, SCHEMA, write_bids

from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.shards import writer
from brain_diffusion_jax.data.shards.loader import Loader
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices
from brain_diffusion_jax.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """12 people of 4 slices, 3 of them women, all in train."""
    root = tmp_path_factory.mktemp("cohort")
    write_bids(root, rows=[(f"sub-{i:02d}", str(20 + 5 * i), "F" if i < 3 else "M") for i in range(12)])
    out = tmp_path_factory.mktemp("shards") / "set"
    cohort = read_cohort(CohortSpec(root=str(root)), SCHEMA)
    split = SplitSpec(train=1.0, validation=0.0, test=0.0)
    writer.write_shards(out, ScanSlices(cohort, Preparation(**PREPARE), SCHEMA), split)
    return out


def take(loader, count):
    return list(itertools.islice(loader, count))


def same(left, right) -> bool:
    return len(left) == len(right) and all(
        np.array_equal(a[name], b[name]) for a, b in zip(left, right) for name in ("image", "values", "present")
    )


def conditions(batches) -> list[tuple[float, ...]]:
    """Who is in the batches, in order: the encoded conditions name each picture of the fixture."""
    return [tuple(np.round(row, 4).tolist()) for batch in batches for row in batch["values"]]


def test_batches(folder):
    batch = next(Loader(folder, "train", 8))
    assert batch["image"].shape == (8, 22, 19, 1)
    assert batch["image"].dtype == np.uint8
    assert batch["values"].shape == batch["present"].shape == (8, 3)
    assert (batch["values"].dtype, batch["present"].dtype) == (np.float32, bool)
    assert batch["image"].flags.writeable


def test_an_epoch_holds_every_picture_once_and_mixes_people(folder):
    loader = Loader(folder, "train", 8, seed=3)
    assert (len(loader), loader.steps_per_epoch) == (48, 6)
    epochs = [conditions(take(loader, 6)) for _ in range(3)]
    assert all(len(set(epoch)) == 48 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3  # another order each epoch
    people_in_first_batch = {row[0] for row in epochs[0][:8]}
    assert len(people_in_first_batch) >= 4


def test_the_pictures_belong_to_their_conditions(folder):
    known = writer.read_all(folder, "train")
    by_condition = {tuple(np.round(v, 4).tolist()): image for v, image in zip(known["values"], known["image"])}
    for batch in take(Loader(folder, "train", 8, seed=5), 6):
        for image, row in zip(batch["image"], conditions([batch])):
            np.testing.assert_array_equal(image, by_condition[row])


def test_deterministic_in_the_seed(folder):
    first = take(Loader(folder, "train", 8, seed=1, mirror=0.5), 10)
    assert same(first, take(Loader(folder, "train", 8, seed=1, mirror=0.5, threads=1), 10))
    assert not same(first, take(Loader(folder, "train", 8, seed=2, mirror=0.5), 10))


@pytest.mark.parametrize("options", [{"mirror": 0.5}, {"class_balance": "sex"}, {"shuffle": False}])
def test_state_goes_through_json_and_continues_exactly(folder, options):
    loader = Loader(folder, "train", 8, seed=1, **options)
    take(loader, 9)  # into the second epoch
    state = json.loads(json.dumps(loader.get_state()))
    expected = take(loader, 15)
    resumed = Loader(folder, "train", 8, seed=1, **options)
    take(resumed, 2)
    resumed.set_state(state)
    assert same(expected, take(resumed, 15))
    assert loader.get_state() == resumed.get_state()


def together(loaders, count):
    """Global batches put together from the processes' rows."""
    parts = [take(loader, count) for loader in loaders]
    return [{name: np.concatenate([p[i][name] for p in parts]) for name in parts[0][0]} for i in range(count)]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_global_batch_and_may_change_on_restore(folder, processes):
    def group(count):
        return [
            Loader(folder, "train", 8, seed=1, mirror=0.5, process_index=i, process_count=count) for i in range(count)
        ]

    one = group(1)
    many = group(processes)
    assert many[0].local_batch_size == 8 // processes
    assert same(together(one, 8), together(many, 8))
    state = one[0].get_state()
    other = group(processes)
    for loader in other:
        loader.set_state(state)
    assert same(together(one, 5), together(other, 5))


@pytest.mark.parametrize("changed", ["seed", "batch_size", "mirror", "class_balance", "shards", "data"])
def test_a_state_of_other_data_or_settings_is_refused(folder, tmp_path, changed):
    state = Loader(folder, "train", 8, seed=1).get_state()
    options: dict = {"seed": 1, "batch_size": 8}
    where = folder
    if changed in ("shards", "data"):
        where = tmp_path / "copy"
        shutil.copytree(folder, where)
        if changed == "data":
            contract = json.loads((where / "contract.json").read_text())
            (where / "contract.json").write_text(json.dumps({**contract, "fingerprint": "sha256:0"}))
        else:
            state = {**state, "shard_lengths": [24, 24]}
    else:
        options[changed] = {"seed": 2, "batch_size": 16, "mirror": 0.5, "class_balance": "sex"}[changed]
    loader = Loader(where, "train", options.pop("batch_size"), **options)
    field = {"shards": "shard_lengths", "data": "fingerprint"}.get(changed, changed)
    with pytest.raises(InputError, match=f"loader state: {field}: found"):
        loader.set_state(state)


def test_mirror_flips_left_and_right_only(folder):
    plain = take(Loader(folder, "train", 8, seed=1), 6)
    always = take(Loader(folder, "train", 8, seed=1, mirror=1.0), 6)
    assert all(np.array_equal(a["image"][:, :, ::-1], b["image"]) for a, b in zip(plain, always))
    half = take(Loader(folder, "train", 8, seed=1, mirror=0.5), 30)
    unflipped = take(Loader(folder, "train", 8, seed=1), 30)
    flipped = [not np.array_equal(x, y) for a, b in zip(half, unflipped) for x, y in zip(a["image"], b["image"])]
    assert 0.35 < np.mean(flipped) < 0.65


def npz(values, deflate=False):
    return lambda path: (np.savez_compressed if deflate else np.savez)(path, values=values, present=values > 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (npz(np.zeros((47, 3))), r"records: found \(\(47, 3\), \(47, 3\)\); expected \(48, 3\), as in the shards"),
        (npz(np.zeros((3_000_000, 3)), deflate=True), r"size: found \d+ bytes unpacked; expected two arrays of"),
        (lambda path: path.write_bytes(b"PK"), "file: found BadZipFile"),
        (lambda path: path.unlink(), "file: found FileNotFoundError"),
    ],
)
def test_conditions_of_a_split_are_compared_with_its_records(folder, tmp_path, damage, message):
    shutil.copytree(folder, tmp_path / "copy")
    damage(tmp_path / "copy" / "conditions_train.npz")
    with pytest.raises(InputError, match=rf"conditions_train\.npz: {message}"):
        Loader(tmp_path / "copy", "train", 8, class_balance="sex")


def test_class_balance_draws_classes_alike(folder):
    batches = take(Loader(folder, "train", 8, seed=1, class_balance="sex"), 150)
    share = np.mean([row[1] for row in conditions(batches)])
    assert share == pytest.approx(0.5, abs=0.05)  # 0.75 without
    ages = np.mean([row[0] for row in conditions(take(Loader(folder, "train", 8, class_balance="age"), 100))])
    assert 0.2 < ages < 0.6


def test_unshuffled_once_through(folder):
    batches = take(Loader(folder, "train", 20, shuffle=False, repeat=False), 10)
    assert [len(b["image"]) for b in batches] == [20, 20, 8]
    assert len(set(conditions(batches))) == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"batch_size": 9, "process_count": 2}, "batch_size: found 9 for process 0 of 2"),
        ({"mirror": 1.5}, "mirror: found 1.5"),
        ({"class_balance": "agee"}, "covariate: found agee; expected nearest: age"),
    ],
)
def test_wrong_options_are_refused(folder, options, message):
    with pytest.raises(InputError, match=message):
        Loader(folder, "train", **{"batch_size": 8, **options})


def test_a_damaged_shard_stops_the_loader_with_its_name(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = next(copy.glob("brain_pictures/*/*train*"))
    raw = bytearray(path.read_bytes())
    raw[64 : len(raw) // 3] = bytes(len(raw) // 3 - 64)
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match=r"array_record-00000-of-00001: records: found (unreadable|0)") as error:
        take(Loader(copy, "train", 8), 6)
    assert "\n" not in str(error.value)
