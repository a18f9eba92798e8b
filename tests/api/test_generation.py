"""Data sets of synthetic volumes: any sharding and any interruption gives the same files."""

from __future__ import annotations

from dataclasses import replace

import bids_validator
import nibabel
import numpy as np
import pytest
import small_shards
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax.api.generation import MEASURED, RECORD, generate
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.data.bids import DESCRIPTION, PARTICIPANTS, Contrast
from brain_diffusion_jax.data.bids import image_file as volume_file
from brain_diffusion_jax.data.condition_draw import ConditionDraw, DrawnRow
from brain_diffusion_jax.data.prepare.head_volumes import Region
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.files import read_json
from brain_diffusion_jax.pixels import to_uint8

SIZE = (6, 5, 4)
VALUES = np.array([[0.1, 0.0], [0.5, 1.0], [0.9, 0.0]], np.float32)
ROWS = list(ConditionDraw(small_shards.SCHEMA, VALUES, np.ones((3, 2), bool), seed=4).rows(range(5)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    contract = small_shards.Blobs(SIZE, 3).contract()
    folder = tmp_path_factory.mktemp("runs") / "run"
    return api.load(tiny_runs.diffusion_run(folder, "model.spatial_dims=3", given=contract), "diffusion")


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    told = []
    sampling = model.sampling(num_steps=1, batch_size=2)
    out = generate(model, ROWS, sampling, tmp_path_factory.mktemp("out") / "whole", progress=lambda *n: told.append(n))
    assert (told[0], told[-1]) == ((0, 5), (5, 5))
    return out, sampling


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_volumes_lie_in_bids_layout_with_what_was_asked(model, whole):
    out, sampling = whole
    lines = (out / PARTICIPANTS).read_text().splitlines()
    assert lines[0].split("\t") == ["participant_id", "seed", "age", "sex"]
    assert len(lines) == 6
    assert lines[1].split("\t") == [
        "sub-000000",
        str(ROWS[0].seed),
        *(f"{v:.7g}" if isinstance(v, float) else v for v in ROWS[0].condition.values()),
    ]
    described = read_json(out / DESCRIPTION)
    assert (described["DatasetType"], described["SyntheticData"]) == ("derivative", True)
    (origin,) = described["GeneratedBy"]
    assert (origin["Weights"], origin["Checkpoint"], len(origin["ConfigSHA256"])) == (model.version, 0, 64)
    sidecar = read_json(out / volume_file(3).replace(".nii.gz", ".json"))
    assert sidecar["SyntheticData"] is True
    assert (sidecar["Seed"], sidecar["Requested"]) == (ROWS[3].seed, dict(ROWS[3].condition))
    assert sidecar["Sampler"] == sampling.record()
    volume = nibabel.load(out / volume_file(3))
    assert volume.shape == SIZE
    np.testing.assert_array_equal(volume.affine, np.diag([4.0, 4.0, 4.0, 1.0]))
    made = [np.asarray(nibabel.load(out / volume_file(k)).dataobj) for k in range(5)]
    assert all(not np.array_equal(made[i], made[j]) for i in range(5) for j in range(i))


@pytest.mark.bids
def test_the_official_validator_finds_no_error(whole):
    assert not bids_validator.errors(whole[0])


def test_any_sharding_and_any_interruption_gives_the_same_files(model, whole, tmp_path):
    out, sampling = whole
    parts = tmp_path / "parts"
    for shard in ("2/3", "0/3"):
        generate(model, ROWS, sampling, parts, shard=shard)
    assert len(list(parts.glob("sub-*"))) == 3
    generate(model, ROWS, sampling, parts, shard="1/3")
    assert everything(parts) == everything(out)
    (parts / volume_file(2)).unlink()
    generate(model, ROWS, sampling, parts)
    assert everything(parts) == everything(out)


@pytest.fixture(scope="module")
def region():
    ventricles = np.zeros(SIZE, bool)
    ventricles[2:4, 1:4, 1:3] = True
    return Region(ventricles, np.ones(SIZE, bool), np.diag([4.0, 4.0, 4.0, 1.0]), 0.5, 0.1, 0.6)


def test_a_model_that_was_told_measured_volumes_puts_measured_beside_requested(model, region, tmp_path, capsys):
    from brain_diffusion_jax.cli import main

    schema = Schema((Continuous("age", "years", 20, 80), Continuous("ventricles", "MNI-scaled mm3", 0, 2000)))
    given = replace(model.contract, schema=schema, measured={"region": region.digest, "covariates": ["ventricles"]})
    told = tiny_runs.diffusion_run(tmp_path / "run", "model.spatial_dims=3", given=given)
    table, out = tmp_path / "wanted.csv", tmp_path / "out"
    table.write_text("age,ventricles\n30,700\n70,1500\n")
    words = ["generate", str(told), "--conditions", str(table), "--steps", "1", "--batch", "1", "--data", str(tmp_path)]
    assert main.main([*words, "--out", str(out)]) == main.EXIT_BAD_INPUT
    assert "region.npz" in capsys.readouterr().err
    region.save(tmp_path)
    assert main.main([*words, "--out", str(out), "--shard", "1/2"]) == 0
    assert not (out / MEASURED).exists()  # not all volumes are there
    assert main.main([*words, "--out", str(out), "--shard", "0/2"]) == 0
    lines = [line.split("\t") for line in (out / MEASURED).read_text().splitlines()]
    names = ("requested_ventricles", "measured_ventricles", "requested_brain", "measured_brain")
    assert lines[0] == ["participant_id", *names]
    assert [line[:2] for line in lines[1:]] == [["sub-000000", "700"], ["sub-000001", "1500"]]
    for row, line in enumerate(lines[1:]):
        volume = to_uint8(np.asarray(nibabel.load(out / volume_file(row)).dataobj))
        assert float(line[2]) == (volume[region.ventricles] < 0.5 * 255).sum() * 64
        assert line[3] == "n/a"
        assert float(line[4]) == pytest.approx((volume >= 0.5 * 255).mean(), abs=1e-6)
    assert main.main([*words, "--out", str(out), "--no-measure"]) == main.EXIT_BAD_INPUT  # another data set


def test_other_settings_rows_and_folders_are_refused(model, whole, tmp_path):
    out, sampling = whole
    before = everything(out)
    with pytest.raises(InputError, match="settings: found guidance_scale 5"):
        generate(model, ROWS, sampling.with_scale(5.0), out)
    with pytest.raises(InputError, match="settings: found suffix 'T2w'"):
        generate(model, ROWS, sampling, out, contrast=Contrast("T2w"))
    with pytest.raises(InputError, match="conditions"):
        generate(model, [*ROWS[:-1], DrawnRow(4, {"age": 30.0}, 1)], sampling, out)
    with pytest.raises(InputError, match="--shard"):
        generate(model, ROWS, sampling, out, shard="3/3")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        generate(model, ROWS, sampling, tmp_path)
    assert everything(out) == before
    assert not (tmp_path / RECORD).exists()


def test_slices_are_refused(tmp_path):
    flat = api.load(tiny_runs.diffusion_run(tmp_path / "run"), "diffusion")
    with pytest.raises(InputError, match="volumes"):
        generate(flat, ROWS, flat.sampling(), tmp_path / "out")


def test_the_command_makes_parts_of_tables_and_of_draws(model, tmp_path, capsys):
    from brain_diffusion_jax.cli import main

    table = tmp_path / "wanted.csv"
    table.write_text("age,sex\n30,F\n70,M\n50,\n")
    told = ["--steps", "1", "--batch", "2"]
    for shard in ("0/2", "1/2"):
        words = ["generate", str(model.path), "--conditions", str(table), "--out", str(tmp_path / "out"), *told]
        assert main.main([*words, "--shard", shard]) == 0
    assert "part 1/2 of 3 volumes" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("sub-*/anat/*.nii.gz"))) == 3
    assert (tmp_path / "out" / PARTICIPANTS).read_text().splitlines()[3].endswith("50\tn/a")
    shards = small_shards.write_blobs(tmp_path / "shards", SIZE)
    drawn = ["generate", str(model.path), "--draw", "2", "--data", str(shards), "--out", str(tmp_path / "drawn"), *told]
    assert main.main(drawn) == 0
    assert len(list((tmp_path / "drawn").glob("sub-*/anat/*.nii.gz"))) == 2
    assert main.main([*words, "--draw", "2"]) == main.EXIT_BAD_INPUT
