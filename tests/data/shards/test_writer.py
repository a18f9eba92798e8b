from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from small_cohort import AFFINE, PREPARE, SCHEMA, brain, write_bids, write_scan

from brain_diffusion_jax.contract import Contract, require_same
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare import part_pool
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.shards import writer
from brain_diffusion_jax.data.shards.splits import SplitSpec
from brain_diffusion_jax.data.sources.cohort import CohortSpec, read_cohort
from brain_diffusion_jax.data.sources.scan_slices import ScanSlices
from brain_diffusion_jax.errors import InputError

HALVES = SplitSpec(train=0.5, validation=0.0, test=0.5, seed=1)


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory) -> Path:
    return write_bids(tmp_path_factory.mktemp("cohort"), people=6)


def write(
    out: Path, root: Path, *, prepare: dict | None = None, split: SplitSpec = HALVES, source="", **options
) -> Contract:
    cohort = read_cohort(CohortSpec(root=str(root)), SCHEMA)
    return writer.write_shards(
        out, ScanSlices(cohort, Preparation(**{**PREPARE, **(prepare or {})}), SCHEMA, source), split, **options
    )


@pytest.fixture(scope="module")
def prepared(cohort_folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "set"
    write(out, cohort_folder, source="six ellipsoids")
    return out


def test_what_was_written_is_what_was_cut(prepared, cohort_folder):
    contract = Contract.load(prepared)
    assert contract.image_size == (22, 19)
    assert contract.slices.indices == (7, 8, 9, 10)
    assert contract.split.unit == "person"
    seen = set()
    for split in ("train", "test"):
        everything = writer.read_all(prepared, split)
        assert len(everything["image"]) == contract.counts[split]["pictures"] == len(writer.open_split(prepared, split))
        assert seen.isdisjoint(everything["person"])
        seen |= set(everything["person"])
        order = list(zip(everything["person"], everything["slice_index"]))
        assert order == sorted(order)
        for i, person in enumerate(everything["person"]):
            number = int(person[-2:])
            expected = np.clip(brain(number) / 200, 0, 1)[::-1, ::-1, everything["slice_index"][i]].T
            np.testing.assert_allclose(everything["image"][i, :, :, 0] / 255, expected, atol=0.51 / 255)
            assert everything["conditions"][i]["age"] == pytest.approx(20 + 5 * number)
            assert everything["conditions"][i]["sex"] == "FM"[number % 2]
            assert everything["conditions"][i]["slice"] == pytest.approx(everything["slice_index"][i])
    assert len(seen) == 6
    record = writer.open_split(prepared, "train")[0]
    assert record["window"].tolist() == [0.0, 200.0]
    assert sorted(p.name for p in prepared.iterdir()) == sorted(
        [
            "brain_pictures",
            "conditions_test.npz",
            "conditions_train.npz",
            "contract.json",
            "dropped.csv",
            "scans.csv",
            "shards.json",
        ]
    )


def test_tensorflow_datasets_reads_the_same_records(prepared):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(next((prepared / "brain_pictures").iterdir())))
    source = builder.as_data_source(split="train")
    ours = writer.open_split(prepared, "train")
    assert len(source) == len(ours)
    for theirs, mine in ((source[i], ours[i]) for i in range(0, len(ours), 3)):
        np.testing.assert_array_equal(theirs["image"], mine["image"])
        np.testing.assert_allclose(theirs["values"], mine["values"])
        assert theirs["person"].decode() == mine["person"]


def test_missing_covariates_are_absent(tmp_path):
    root = write_bids(tmp_path / "c", rows=[("sub-00", "30", "F"), ("sub-01", "n/a", "M")])
    cohort = read_cohort(CohortSpec(root=str(root), bad_ages="absent"), SCHEMA)
    split = SplitSpec(train=1.0, validation=0.0, test=0.0)
    writer.write_shards(tmp_path / "out", ScanSlices(cohort, Preparation(**PREPARE), SCHEMA), split)
    everything = writer.read_all(tmp_path / "out", "train")
    assert {tuple(p) for p in everything["present"][4:].tolist()} == {(False, True, True)}
    assert everything["present"][:4].all()


def test_workers_give_the_same_data(prepared, cohort_folder, tmp_path):
    assert write(tmp_path / "out", cohort_folder, workers=2).fingerprint == Contract.load(prepared).fingerprint


def test_where_the_cohort_lies_is_no_part_of_the_contract(prepared, cohort_folder, tmp_path):
    contract = write(tmp_path / "out", cohort_folder, source="the same on another disk")
    require_same(Contract.load(prepared), contract, "weights", same_data=True)


def test_other_data_have_another_fingerprint(prepared, tmp_path):
    root = write_bids(tmp_path / "c", people=6)
    write_scan(root / "sub-03" / "anat" / "sub-03_T1w.nii.gz", brain(33))
    assert write(tmp_path / "out", root).fingerprint != Contract.load(prepared).fingerprint


def test_ctrl_c_keeps_parts_and_the_next_run_continues(prepared, cohort_folder, tmp_path, monkeypatch):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write(out, cohort_folder, progress=stop)
    assert len(list((out / ".prepare" / "parts").glob("*.npz"))) == 3
    with pytest.raises(InputError, match="shards: found an unfinished prepare"):
        writer.open_split(out, "train")
    made = []
    real = part_pool.save_part
    monkeypatch.setattr(part_pool, "save_part", lambda path, item: (made.append(path), real(path, item)))
    assert write(out, cohort_folder).fingerprint == Contract.load(prepared).fingerprint
    assert len(made) == 3
    assert not (out / ".prepare").exists()


KILLED = """
    import os, signal, sys
    sys.path[:0] = {path!r}
    import test_writer
    from brain_diffusion_jax.data.shards import writer as shards, builder as slices_builder
    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)
    if {when!r} == "scans":
        progress = lambda done, total: die() if done == 4 else None
    else:
        progress = None
        if {when!r} == "records":
            real, calls = slices_builder.records, []
            def fail_late(*arguments):
                calls.append(1)
                if len(calls) > 4: die()
                yield from real(*arguments)
            slices_builder.records = fail_late
        else:
            real_save = shards.Contract.save
            shards.Contract.save = lambda *arguments: (real_save(*arguments), die())
    test_writer.write(test_writer.Path({out!r}), test_writer.Path({root!r}), progress=progress)
"""


@pytest.mark.parametrize("when", ["scans", "records", "before the manifest"])
def test_kill_9_continues_and_nothing_half_is_taken_for_whole(prepared, cohort_folder, tmp_path, when):
    out = tmp_path / "out"
    here = Path(__file__).parent
    script = textwrap.dedent(KILLED).format(
        path=[str(here), str(here.parents[1])], when=when, out=str(out), root=str(cohort_folder)
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    with pytest.raises(InputError, match=r"unfinished prepare|no such file"):
        writer.open_split(out, "train")
    assert write(out, cohort_folder).fingerprint == Contract.load(prepared).fingerprint


def test_a_damaged_part_is_made_again(prepared, cohort_folder, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write(out, cohort_folder, progress=stop)
    part = next((out / ".prepare" / "parts").glob("*.npz"))
    part.write_bytes(part.read_bytes()[:-500])
    (out / ".prepare" / "parts" / "x.npz.part").write_bytes(b"half")
    assert write(out, cohort_folder).fingerprint == Contract.load(prepared).fingerprint


def test_a_part_of_another_preparation_or_file_is_not_reused(cohort_folder, tmp_path):
    cohort = read_cohort(CohortSpec(root=str(cohort_folder)), SCHEMA)
    source = ScanSlices(cohort, Preparation(**PREPARE), SCHEMA)
    entry = source.entries()[0]
    first = source.part_name(entry)
    other = ScanSlices(cohort, Preparation(**PREPARE | {"axis": "coronal"}), SCHEMA)
    without_slices = ScanSlices(cohort, Preparation(**PREPARE), Schema(SCHEMA.covariates[:2]))
    moved = entry._replace(path=tmp_path / "copy.nii.gz")
    shutil.copy(entry.path, moved.path)
    assert first not in (other.part_name(entry), without_slices.part_name(entry), source.part_name(moved))


def test_no_space_on_the_disk(cohort_folder, tmp_path, monkeypatch, prepared):
    usage = shutil.disk_usage(tmp_path)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
        with pytest.raises(InputError, match=r"out: disk: found 0.00 GiB free; expected about"):
            write(out, cohort_folder)
    real = part_pool.save_part
    done = []

    def full(path, item):
        if len(done) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, item)
        done.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(part_pool, "save_part", full)
        with pytest.raises(InputError, match="out: disk: found no space left; expected free space; finished scans are"):
            write(out, cohort_folder)
    assert len(list((out / ".prepare" / "parts").glob("*.npz"))) == 2
    assert write(out, cohort_folder).fingerprint == Contract.load(prepared).fingerprint


@pytest.mark.parametrize("held", ["finished", "other", "file"])
def test_an_output_folder_that_holds_something_is_refused(prepared, cohort_folder, tmp_path, held):
    out = prepared if held == "finished" else tmp_path / "out"
    if held == "other":
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    elif held == "file":
        out.write_text("mine")
    before = sorted(p.name for p in out.iterdir()) if out.is_dir() else out.read_text()
    message = {"finished": "a finished set", "other": r"holds \['thesis.txt'\]", "file": "a file"}[held]
    with pytest.raises(InputError, match=f"--out: found .*{message}"):
        write(out, cohort_folder)
    assert (sorted(p.name for p in out.iterdir()) if out.is_dir() else out.read_text()) == before


def test_an_output_folder_that_cannot_be_made_is_refused(cohort_folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file/out: --out: found Not a directory"):
        write(tmp_path / "file" / "out", cohort_folder)


def test_two_prepares_in_one_folder(cohort_folder, tmp_path):
    with (
        writer.working_folder(tmp_path / "out"),
        pytest.raises(InputError, match="--out: found another prepare at work"),
    ):
        write(tmp_path / "out", cohort_folder)


@pytest.mark.parametrize("damage", ["truncated", "deleted", "flipped", "manifest", "foreign"])
def test_damaged_shards_are_noticed(prepared, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(prepared, folder)
    path = next(folder.glob("brain_pictures/*/*train*"))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
        expected = r"array_record-00000-of-00001: size: found \d+ bytes"
    elif damage == "deleted":
        path.unlink()
        expected = r"array_record-00000-of-00001: size: found no such file"
    elif damage == "flipped":
        raw = bytearray(path.read_bytes())
        raw[64:400] = bytes(336)
        path.write_bytes(bytes(raw))
        expected = r"array_record-00000-of-00001: records: found unreadable"
    elif damage == "manifest":
        (folder / "shards.json").write_text('{"splits":')
        expected = "shards.json: manifest: found broken JSON"
    else:
        other = next(folder.glob("brain_pictures/*/*test*"))
        size = path.stat().st_size
        path.write_bytes(other.read_bytes()[:size].ljust(size, b"\0"))
        expected = "array_record-00000-of-00001: records: found"
    with pytest.raises(InputError, match=expected):
        writer.read_all(folder, "train")


def test_unknown_split_lists_the_known_ones(prepared):
    with pytest.raises(InputError, match="split: found tests; expected nearest: test"):
        writer.open_split(prepared, "tests")
    with pytest.raises(InputError, match="nowhere: shards: found no shards"):
        writer.open_split(prepared / "nowhere", "train")


def bad_cohort(folder: Path) -> Path:
    root = write_bids(folder, people=6)
    broken = root / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-3000])
    write_scan(root / "sub-04" / "anat" / "sub-04_T1w.nii.gz", np.full((19, 22, 19), np.nan, np.float32))
    return root


def test_bad_scans_are_refused_all_at_once_or_dropped(tmp_path):
    root = bad_cohort(tmp_path / "c")
    with pytest.raises(InputError, match=r"(?s)sub-02_T1w.*2 bad scans, also: .*sub-04_T1w.*prepare.bad_scans=drop"):
        write(tmp_path / "out", root, workers=2)  # the refusal comes out of a worker process
    assert len(list((tmp_path / "out" / ".prepare" / "parts").glob("*.npz"))) == 4
    contract = write(tmp_path / "out", root, prepare={"bad_scans": "drop"})
    assert contract.counts["dropped"] == {"bad scan": 2}
    text = (tmp_path / "out" / "dropped.csv").read_text()
    assert "sub-02" in text
    assert "sub-04" in text


def test_a_link_to_nothing_is_refused_or_dropped(tmp_path):
    root = write_bids(tmp_path / "c", people=6)
    for name in ("sub-00", "sub-03"):
        scan = root / name / "anat" / f"{name}_T1w.nii.gz"
        scan.unlink()
        scan.symlink_to("../../.git/annex/objects/x")
    message = r"sub-00_T1w.nii.gz: file: found a link to nothing \(datalad get\?\).*2 bad scans, also: .*sub-03_T1w"
    with pytest.raises(InputError, match=message):
        write(tmp_path / "out", root)
    contract = write(tmp_path / "out", root, prepare={"bad_scans": "drop"})
    assert contract.counts["dropped"] == {"bad scan": 2}
    native = {"bad_scans": "drop", "grid": "native", "spacing_mm": ()}
    assert write(tmp_path / "native", root, prepare=native).counts["dropped"] == {"bad scan": 2}


def test_a_native_grid_is_no_larger_than_a_scan(tmp_path):
    affine = AFFINE.copy()
    affine[:3] *= 4  # voxels of 40 mm
    root = write_bids(tmp_path / "c", people=1)
    write_scan(root / "sub-00" / "anat" / "sub-00_T1w.nii.gz", brain(), affine)
    with pytest.raises(
        InputError, match=r"prepare\.grid=native: found 7600 x 8800 x 7600 voxels; expected at most 2048"
    ):
        write(tmp_path / "out", root, prepare={"grid": "native", "spacing_mm": (0.1,) * 3})


def test_nothing_is_left_in_the_temporary_folder(cohort_folder, tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    write(tmp_path / "out", cohort_folder)
    assert not list((tmp_path / "t").iterdir())


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("contract.json", {"image_size": [100_000, 100_000]}, "image(_size:| of train:) found"),
        ("contract.json", {"image_size": [2000, 2000]}, r"image of train: found \d+ bytes; expected 4000000, by"),
        ("contract.json", {"stored_dtype": "float32"}, r"image of train: found \d+ bytes; expected 1672, by contract"),
        ("shards.json", {"records": 10**12}, r"records: found 1000000000000; expected no more than its \d+ bytes"),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_claims_of_a_shard_set_are_compared_with_its_bytes(prepared, tmp_path, file, change, message, whole):
    folder = tmp_path / "copy"
    shutil.copytree(prepared, folder)
    items = json.loads((folder / file).read_text())
    (items if file == "contract.json" else items["splits"]["train"][0]).update(change)
    (folder / file).write_text(json.dumps(items))
    with pytest.raises(InputError, match=message):
        writer.open_split(folder, "train").batch([0]) if not whole else writer.read_all(folder, "train")


def test_an_empty_split_is_refused(tmp_path):
    root = write_bids(tmp_path / "c", people=2)
    with pytest.raises(InputError, match=r"participants.tsv: (train|validation|test): found nobody \(2 in all"):
        write(tmp_path / "out", root, split=SplitSpec())


def test_split_by_slice_warns_and_is_in_the_contract(cohort_folder, tmp_path):
    with pytest.warns(UserWarning, match="neighbouring slices"):
        contract = write(tmp_path / "out", cohort_folder, split=SplitSpec(unit="slice"))
    assert "far too good" in contract.split.warning
    assert sum(contract.counts[s]["pictures"] for s in ("train", "validation", "test")) == 24
    people = [set(writer.read_all(tmp_path / "out", s)["person"]) for s in ("train", "test")]
    assert people[0] & people[1]


def test_stratified_split_uses_the_covariates(tmp_path):
    rows = [(f"sub-{i:02d}", str(20 + 60 * (i % 2)), "F") for i in range(8)]
    root = write_bids(tmp_path / "c", rows=rows)
    write(tmp_path / "out", root, split=SplitSpec(train=0.5, validation=0.0, test=0.5, stratify=("age",)))
    for split in ("train", "test"):
        ages = [round(c["age"]) for c in writer.read_all(tmp_path / "out", split)["conditions"]]
        assert ages.count(20) == ages.count(80) == 8


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        ({"axis": "coronal", "slices": {"rule": "list_index", "values": (9, 11)}}, (19, 19)),
        ({"axis": "sagittal", "slices": {"rule": "list_mm", "values": (0,)}}, (19, 22)),
        ({"fit": {"rule": "resize", "size": (32, 24), "method": "area"}}, (32, 24)),
        ({"fit": {"rule": "pad", "size": (24, 24)}, "intensity": {"dtype": "float32"}}, (24, 24)),
        ({"grid": (18, 20, 16)}, (20, 18)),
        ({"grid": "native", "spacing_mm": ()}, (22, 19)),
        ({"grid": "native", "spacing_mm": (5.0, 5.0, 5.0), "slices": {"start": 15, "stop": 17}}, (44, 38)),
    ],
)
def test_preparations(cohort_folder, tmp_path, keys, size):
    split = SplitSpec(train=1.0, validation=0.0, test=0.0)
    contract = write(tmp_path / "out", cohort_folder, prepare=keys, split=split)
    everything = writer.read_all(tmp_path / "out", "train")
    assert contract.image_size == everything["image"].shape[1:3] == size
    assert everything["image"].dtype == contract.stored_dtype
    assert everything["image"].max() > (100 if contract.stored_dtype == "uint8" else 0.4)
    assert json.loads((tmp_path / "out" / "contract.json").read_text()) == contract.to_json()


def test_native_scans_of_several_sizes_are_refused_without_a_fit(tmp_path):
    root = write_bids(tmp_path / "c", people=3)
    write_scan(root / "sub-01" / "anat" / "sub-01_T1w.nii.gz", np.pad(brain(1), ((0, 0), (0, 2), (0, 0))))
    split = SplitSpec(train=1.0, validation=0.0, test=0.0)
    native = {"grid": "native", "spacing_mm": ()}
    with pytest.raises(InputError, match=r"sub-01_T1w.nii.gz: picture size: found \(24, 19\); expected \(22, 19\)"):
        write(tmp_path / "out", root, prepare=native, split=split)
    contract = write(tmp_path / "out", root, prepare={**native, "fit": {"rule": "crop", "size": (20, 18)}}, split=split)
    assert contract.image_size == (20, 18)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"grid": "mnii"}, "prepare: grid: found mnii"),
        ({"spacing_mm": (2.0, 2.0)}, "prepare: spacing_mm: found"),
        ({"spacing_mm": (1e-300, 2.0, 2.0)}, "prepare: spacing_mm: found"),
        ({"spacing_mm": (0.2, 0.2, 0.2)}, "prepare: spacing_mm, grid: found 910 x 1090 x 910 voxels; expected at most"),
        ({"grid": (100_000, 10, 10)}, "prepare: spacing_mm, grid: found 100000 x 10 x 10 voxels; expected at most"),
        ({"fit": {"rule": "pad", "size": (100_000, 9)}}, "prepare.fit: size: found"),
        ({"slices": {"rul": "list"}}, r"prepare.slices: keys: found \['rul'\]"),
        ({"bad_scans": "ignore"}, "prepare: bad_scans: found ignore"),
    ],
)
def test_wrong_preparations_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        Preparation(**PREPARE | keys)


def test_a_dead_worker_is_reported(tmp_path, cohort_folder, monkeypatch):
    monkeypatch.setattr(part_pool, "_prepare_in_worker", _die)
    with pytest.raises(InputError, match="worker process died"):
        write(tmp_path / "out", cohort_folder, workers=2)


def _die(*_):
    os._exit(1)


@pytest.mark.beam
def test_beam_writes_the_same_set(prepared, cohort_folder, tmp_path):
    pytest.importorskip("apache_beam")
    contract = write(tmp_path / "out", cohort_folder, engine="beam", beam_options=["--runner=DirectRunner"])
    assert contract.fingerprint == Contract.load(prepared).fingerprint
    ours, theirs = (writer.read_all(folder, "train") for folder in (prepared, tmp_path / "out"))
    np.testing.assert_array_equal(ours["image"], theirs["image"])


@pytest.mark.beam
def test_beam_refuses_or_drops_bad_scans(tmp_path):
    pytest.importorskip("apache_beam")
    root = bad_cohort(tmp_path / "c")
    with pytest.raises(InputError, match=r"sub-0[24]_T1w\.nii\.gz"):
        write(tmp_path / "out", root, engine="beam")
    contract = write(tmp_path / "out", root, engine="beam", prepare={"bad_scans": "drop"})
    assert contract.counts["dropped"] == {"could not be prepared (see the worker's log)": 2}


def test_beam_without_beam(cohort_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(InputError, match=r"--beam: apache_beam: found not installed"):
        write(tmp_path / "out", cohort_folder, engine="beam")
