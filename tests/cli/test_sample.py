"""`sample` as a user runs it, on a small random network."""

from __future__ import annotations

import csv
import json
import os
import shutil

import bids_validator
import jax
import nibabel
import numpy as np
import pytest
import tiny_runs
from PIL import Image

from brain_diffusion_jax.api import volumes
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data import bids
from brain_diffusion_jax.data.sample_folder import SampleFolder, read_pictures
from brain_diffusion_jax.data.shards import reader
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.diffusion import model as diffusion_model
from brain_diffusion_jax.training.run_folder import checkpoints
from brain_diffusion_jax.training.run_folder.stopping import lock


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return str(tiny_runs.diffusion_run(tmp_path_factory.mktemp("sample") / "run"))


def manifest(folder):
    with (folder / "manifest.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_sample_writes_pictures_where_they_belong(run_folder, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["sample", run_folder, "--out", str(out), "--seed", "4", "--guidance", "2", "--json"]
    assert main([*words, "--set", "age=20,70", "sex=F", "slice=3", "--set", "sex=M"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 3
    rows = manifest(out)
    assert [(r["age"], r["sex"], r["slice"]) for r in rows] == [
        ("20.0", "F", "3.0"),
        ("70.0", "F", "3.0"),
        ("", "M", ""),
    ]
    assert {(r["seed"], r["guidance_scale"]) for r in rows} == {("4", "2.0")}
    contract = Contract.load(out)
    assert (out / "grid.png").exists()

    # The NIfTI of slice 3 lies where index 3 of the grid lies, and holds the picture in the scans' unit.
    image = nibabel.load(out / "nifti" / "000000.nii.gz")
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], np.array(contract.grid.affine) @ [0, 0, 3, 1])
    picture = np.asarray(Image.open(out / "pictures" / "000000.png"), np.float32) / 255
    np.testing.assert_allclose(image.get_fdata()[::-1, ::-1, 0].T / 2.55, picture, atol=0.5 / 255 + 1e-3)
    assert not (out / "nifti" / "000002.nii.gz").exists()  # no slice was asked for


def test_same_seed_same_pictures(run_folder, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["sample", run_folder, "--out", str(tmp_path / name), "--seed", seed, "--set", "age=50"]) == 0
    a, b, c = (read_pictures(tmp_path / name)[0] for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_an_interrupted_call_keeps_its_pictures_and_goes_on(run_folder, tmp_path, monkeypatch):
    from brain_diffusion_jax.api import DiffusionModel

    whole, part = tmp_path / "whole", tmp_path / "part"
    words = ["--set", "age=20,40,60,80", "--each", "2", "--batch", "3"]
    assert main(["sample", run_folder, "--out", str(whole), *words]) == 0
    original = DiffusionModel.sample_configs

    def interrupted(self, *args, **settings):
        for number, batch in enumerate(original(self, *args, **settings)):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(DiffusionModel, "sample_configs", interrupted)
    assert main(["sample", run_folder, "--out", str(part), *words]) == 130
    monkeypatch.undo()
    assert len(manifest(part)) == 6
    with (part / "manifest.csv").open("a") as stream:
        stream.write("pictures/0000")  # a line torn by the end of the process
    assert main(["sample", run_folder, "--out", str(part), *words]) == 2  # not without --resume
    assert main(["sample", run_folder, "--out", str(part), *words, "--resume"]) == 0
    np.testing.assert_array_equal(read_pictures(whole)[0], read_pictures(part)[0])
    assert manifest(whole) == manifest(part)


@pytest.mark.parametrize("command", ["sample", "sweep"])
def test_two_models_do_not_share_a_folder(run_folder, tmp_path, capsys, command):
    """--resume compares the weights themselves: the config and the path of a run stay while it trains on."""
    run, later, out = tmp_path / "run", tmp_path / "later", tmp_path / "out"
    shutil.copytree(run_folder, run)
    words = [command, str(run), "--set", "age=50", "--out", str(out)]
    words += ["--scales", "3"] if command == "sweep" else ["--guidance", "3"]  # one program for both
    assert main(words) == 0

    def pictures():
        return {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != "lock"}

    def refused(*more):
        assert main([*words, "--resume", *more]) == 2
        assert pictures() == kept
        return capsys.readouterr().err

    kept = pictures()
    assert "ema=False (before: True)" in refused("--no-ema")
    checkpoints.write_run(
        later, "diffusion", jax.tree.map(lambda v: v * 1.5, checkpoints.load_params(run)), checkpoints.read_config(run)
    )
    shutil.move(later / "checkpoints" / "0", run / "checkpoints" / "7")
    message = refused()
    assert "checkpoint=7 (before: 0)" in message
    assert "weights='" in message
    assert main([*words, "--resume", "--checkpoint", "0"]) == 0  # the same weights, said in another way
    shutil.rmtree(run / "checkpoints" / "0")
    shutil.move(run / "checkpoints" / "7", run / "checkpoints" / "0")
    assert "settings: found weights='" in refused()


def test_a_second_call_in_the_same_folder_is_refused(run_folder, tmp_path, capsys):
    words = [run_folder, "--set", "age=50", "--out", str(tmp_path / "out")]
    with lock(tmp_path / "out"):
        for command in ("sample", "sweep"):
            assert main([command, *words]) == 2
            assert "in use by" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["lock"]
    assert main(["sample", *words]) == 0


def test_only_distinct_finished_pictures_count(tmp_path):
    """Rows doubled by two calls, a picture that is gone, a torn line: what is left is gone on with."""
    pictures, settings = np.random.default_rng(0).uniform(size=(6, 4, 3, 1)).astype(np.float32), {"weights": "a"}

    def opened(**changed):
        return SampleFolder(tmp_path / "out", settings | changed, None, resume=True)

    def write(folder, first, last):
        conditions = [{"age": 20 + i} for i in range(first, last)]
        folder.write(first, pictures[first:last], conditions, seed=0, guidance_scale=1.0, columns=("age",))

    write(opened(), 0, 2)
    manifest_file = tmp_path / "out" / "manifest.csv"
    whole = manifest_file.read_text()
    manifest_file.write_text(whole + "".join(whole.splitlines(keepends=True)[1:]))  # another call, the same rows
    assert opened().done == 2
    assert manifest_file.read_text() == whole
    write(opened(), 2, 6)
    (tmp_path / "out" / "pictures" / "000004.png").unlink()
    with manifest_file.open("a") as stream:
        stream.write("pictures/0000")
    assert opened().done == 4
    write(opened(), 4, 6)
    shown, rows = read_pictures(tmp_path / "out")
    np.testing.assert_allclose(shown, pictures, atol=0.51 / 255)
    assert [row["age"] for row in rows] == ["20", "21", "22", "23", "24", "25"]

    # Nothing is cut off a manifest that somebody else has written.
    manifest_file.write_text(whole.replace(",", ";"))
    with pytest.raises(InputError, match=r"manifest\.csv: header"):
        opened()
    assert manifest_file.read_text() == whole.replace(",", ";")
    with pytest.raises(InputError, match=r"weights='b' .before: 'a'"):
        opened(weights="b")


def test_a_full_disk_leaves_a_folder_that_can_be_used(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            SampleFolder(tmp_path / "out", {"seed": 1}, None)
    folder = SampleFolder(tmp_path / "out", {"seed": 1}, None)
    before = (tmp_path / "out" / "sampling.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            folder.write(0, np.zeros((1, 2, 2, 1)), [{}], seed=0, guidance_scale=1.0, columns=())
        assert SampleFolder(tmp_path / "out", {"seed": 1}, None, resume=True).done == 0
    assert (tmp_path / "out" / "sampling.json").read_bytes() == before
    (tmp_path / "out" / "sampling.json").write_text("")
    with pytest.raises(InputError, match=r"sampling\.json: settings: found broken JSON"):
        SampleFolder(tmp_path / "out", {"seed": 1}, None, resume=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pictures_that_are_not_finite_are_not_written(tmp_path, value):
    folder, pictures = SampleFolder(tmp_path / "out", {}, None), np.zeros((2, 3, 3, 1), np.float32)
    pictures[1, 0, 0] = value
    with pytest.raises(InputError, match="NaN or infinity"):
        folder.write(0, pictures, [{}, {}], seed=0, guidance_scale=1.0, columns=())
    assert not any((tmp_path / "out" / "pictures").iterdir())


def test_sampling_that_ends_in_nan_names_its_settings(run_folder, tmp_path, capsys, monkeypatch):
    words = ["sample", run_folder, "--set", "age=1e29", "--out", str(tmp_path / "far"), "--seed", "5"]
    with pytest.warns(UserWarning, match="extrapolating"):
        assert main(words) == 2
    message = capsys.readouterr().err
    assert "NaN or infinity in 1 of 1 (the first for {'age': 1e+29}" in message
    assert "ddim 3 " in message
    assert "seed=5" in message
    assert main([*words[:3], "age=1e308", "--out", str(tmp_path / "new")]) == 2
    assert "age: found '1e308'; expected a number in years, such as 18 to 96" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.png"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stack", "--each", "2", "--seed", "4294967295"], "--seed of volume 2"),
        (["--set", "agee=70"], "nearest: age"),
        (["--set", "sex=X"], "one of F, M"),
        (["--set", "age=old"], "a number in years"),
        (["--set", "age"], "name=value"),
        (["--set", "age=1", "age=2"], "twice"),
        (["--each", "0"], "1 or more"),
        (["--conditions", "nowhere.csv"], "nowhere.csv"),
        (["--sampler", "ddimm"], "ddim"),
        (["--steps", "0"], "num_steps"),
        (["--guidance", "nan"], "guidance_scale"),
        (["--eta", "3"], "eta"),
    ],
)
def test_bad_input_is_refused_before_a_folder_is_made(run_folder, tmp_path, capsys, words, message):
    assert main(["sample", run_folder, "--out", str(tmp_path / "new"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_folders_that_hold_something_else_are_left_alone(run_folder, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["sample", run_folder, "--out", str(tmp_path)]) == 2
    assert "other files" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    assert main(["sample", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
    assert "config.json" in capsys.readouterr().err


def test_real_heads_beside_a_stack(monkeypatch, tmp_path):
    """Two whole heads and one that lacks a slice: 0, 51, 51 and 0, 51, 153 of 255 in their slices 2, 4, 6."""
    levels, places = [0, 51, 51, 0, 51, 153, 9, 9], [2, 4, 6, 2, 4, 6, 2, 4]
    source = {
        "image": np.stack([np.full((4, 4, 1), level, np.uint8) for level in levels]),
        "scan": np.array(list("aaabbbcc")),
        "slice_index": np.array(places),
    }
    monkeypatch.setattr(reader, "read_all", lambda shards, split: source)
    found = volumes.real_differences(str(tmp_path), [2, 4, 6])
    assert found["heads"] == 2
    np.testing.assert_allclose(found["pairs"], [0.2, 0.2], atol=1e-6)
    assert volumes.real_differences(str(tmp_path / "none"), [2, 4, 6]) is None


def test_a_stack_is_a_volume_on_the_grid(run_folder, tmp_path, capsys):
    out = tmp_path / "stack"
    words = ["sample", run_folder, "--stack", "--set", "age=20,60", "--out", str(out), "--json"]
    before = diffusion_model._sample_stack._cache_size()
    assert main([*words, "--slices", "1:5"]) == 0
    assert diffusion_model._sample_stack._cache_size() == before + 1  # one program for both volumes
    summary = json.loads(capsys.readouterr().out)
    assert summary["slices"] == [1, 5]
    assert min(summary["volumes"][0]["at_trained_slices"]) > 0
    image = nibabel.load(out / "0000.nii.gz")
    contract = Contract.load(out)
    np.testing.assert_allclose(image.affine, contract.grid.affine)
    volume = image.get_fdata()
    assert volume.shape == (12, 14, 8)
    assert not volume[..., [0, 6, 7]].any()
    assert all(volume[..., k].any() for k in range(1, 6))
    assert main([*words, "--out", str(tmp_path / "new"), "--slices", "1:99"]) == 2
    assert "0..7" in capsys.readouterr().err


@pytest.mark.bids
def test_the_official_validator_takes_slices_and_stacks(run_folder, tmp_path):
    words = ["sample", run_folder, "--bids", "--suffix", "FLAIR"]
    assert main([*words, "--out", str(tmp_path / "slices"), "--set", "age=20,70", "slice=3"]) == 0
    assert main([*words, "--out", str(tmp_path / "stack"), "--set", "age=20", "--stack", "--sampler", "ddim"]) == 0
    for name in ("slices", "stack"):
        assert not bids_validator.errors(tmp_path / name)


def test_a_folder_of_pictures_is_a_bids_data_set_too(run_folder, tmp_path, capsys):
    out, plain = tmp_path / "out", tmp_path / "plain"
    words = ["sample", run_folder, "--set", "age=20,70", "sex=F", "slice=3"]
    assert main([*words, "--out", str(plain)]) == 0
    assert main([*words, "--out", str(out), "--bids"]) == 0
    mine, theirs = (nibabel.load(p) for p in (out / bids.image_file(1), plain / "nifti" / "000001.nii.gz"))
    assert np.array_equal(mine.get_fdata(), theirs.get_fdata())
    assert np.array_equal(mine.affine, theirs.affine)
    assert np.array_equal(read_pictures(out)[0], read_pictures(plain)[0])  # the commands that read folders read it
    assert not (out / "nifti").exists()
    lines = (out / bids.PARTICIPANTS).read_text().splitlines()
    assert lines[2].split("\t") == ["sub-000001", "0", "70", "F", "3"]
    assert main([*words, "--out", str(out), "--bids", "--resume"]) == 0
    assert main([*words, "--out", str(out), "--resume"]) == 2  # begun with --bids
    capsys.readouterr()
    for more, said in (
        (["--set", "age=30", "--bids"], "--bids: found no slice of the grid"),
        (["--set", "slice=3", "--bids", "--no-nifti"], "--no-nifti"),
        (["--set", "slice=3", "--suffix", "T2w"], "--suffix: found without --bids"),
        (["--set", "slice=3", "--bids", "--suffix", "T9w"], "--suffix: found T9w"),
    ):
        assert main(["sample", run_folder, "--out", str(tmp_path / "none"), *more]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "none").exists()
