"""`brain-diffusion sweep`: axes, averages of the weights, guidance rules, the table beside held-out people."""

from __future__ import annotations

import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs
from PIL import Image

from brain_diffusion_jax import api
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Condition
from brain_diffusion_jax.data.sample_folder import read_pictures
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.study import real_people
from brain_diffusion_jax.training.run_folder.store import Store


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run with averages of two lengths, each another multiple of the weights; a copy of it; an age model; shards."""
    root = tmp_path_factory.mktemp("sweep")
    run = tiny_runs.diffusion_run(root / "run", "sample.batch_size=8")
    shutil.copytree(run, root / "other")
    params = api.load(run).params
    store = Store(run)
    for step in (10, 20):
        factors = {"0.05": 1 - 0.015 * step, "0.1": 1 - 0.02 * step}
        store.snapshot(
            step, {width: jax.tree.map(lambda a, f=f: np.float32(f * a), params) for width, f in factors.items()}
        )
    store.wait()
    store.close()
    tiny_runs.age_run(root / "age")
    Contract.load(run).save(root / "shards")
    return root


def table(out):
    with (out / "sweep.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_configuration_for_each_setting_and_resume(folders, tmp_path, capsys):
    out, run = tmp_path / "sweep", str(folders / "run")
    words = ["sweep", run, "--set", "age=20,80", "--scales", "1,4", "--axis", "eta=0,1", "--out", str(out), "--json"]
    assert main(words) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert sorted((c["guidance_scale"], c["eta"]) for c in cells) == [(1, 0), (1, 1), (4, 0), (4, 1)]
    assert Image.open(out / "grid.png").size == (4 * 12 + 3, 2 * 14 + 1)

    # A configuration is what `sample` makes with its settings.
    one = next(c for c in cells if (c["guidance_scale"], c["eta"]) == (4, 0))
    assert main(["sample", run, "--set", "age=20,80", "--guidance", "4", "--out", str(tmp_path / "one")]) == 0
    difference = read_pictures(out / one["cell"])[0] - read_pictures(tmp_path / "one")[0]
    assert np.abs(difference).max() <= 1.01 / 255

    assert one["cell"] == "ddim-3_cfg-4_seed-0_eta-0"
    (out / one["cell"]).rename(out / one["key"])  # as release 0.1 named it
    one["cell"] = one["key"]
    before = (out / one["cell"] / "pictures" / "000000.png").stat().st_mtime_ns
    assert main(words) == 2
    assert main([*words, "--resume"]) == 0
    assert (out / one["cell"] / "pictures" / "000000.png").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scales", "1,x"], "--scales"),
        (["--seeds", "0,4294967296"], "--seeds: found 4294967296"),
        (["--scales", "nan"], "guidance_scale"),
        (["--axis", "eto=1"], "eta"),
        (["--axis", "interval=5:1", "--guidance-rules", "interval"], "low"),
        (["--samplers", "nope"], "ddim"),
        (["--steps", "1000"], "num_steps"),
        (["--plugin", "nowhere.py"], "nowhere.py"),
    ],
)
def test_a_sweep_refuses_bad_axes(folders, tmp_path, capsys, words, message):
    assert main(["sweep", str(folders / "run"), "--out", str(tmp_path / "new"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_sweep_over_averages_of_the_weights(folders, tmp_path, capsys):
    words = ["sweep", str(folders / "run"), "--set", "age=20,60", "--scales", "1,2", "--out", str(tmp_path / "out")]
    assert main([*words, "--ema-lengths", "stored,0.05,0.1", "--samplers", "ddim"]) == 0
    model = api.load(folders / "run")
    weak = model.with_params(jax.tree.map(lambda a: np.float32(0.7 * a), model.params))
    wanted = {}
    for name, source in (("ema=stored", model), ("ema=0.05", weak)):
        conditions = [{"age": 20.0}, {"age": 60.0}]
        wanted[name] = source.sweep(conditions, [1.0, 2.0], num_steps=model.config.sample.num_steps)
    assert np.abs(wanted["ema=stored"] - wanted["ema=0.05"]).max() > 0.02
    rows = table(tmp_path / "out")
    assert len(rows) == 6
    assert "ema=0.05" in {row["model"] for row in rows}
    for row in rows:
        if row["model"] in wanted:
            found = read_pictures(tmp_path / "out" / row["cell"])[0]
            expected = wanted[row["model"]][[1.0, 2.0].index(float(row["guidance_scale"]))]
            np.testing.assert_allclose(found, expected, atol=1 / 255)


@pytest.mark.parametrize(("lengths", "message"), [("0.9", "between 0 and 0.28"), ("long", "--ema-lengths")])
def test_lengths_that_cannot_be(folders, tmp_path, capsys, lengths, message):
    assert main(["sweep", str(folders / "run"), "--ema-lengths", lengths, "--out", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def sweep(folders, out, *more):
    words = ["sweep", str(folders / "run"), "--set", "age=20,60", "sex=F", "--steps", "3", "--samplers", "ddim"]
    return main([*words, "--out", str(out), *more])


def pictures(out):
    return {row["guidance_scale"]: read_pictures(out / row["cell"])[0] for row in table(out)}


def test_autoguidance_by_a_model_of_the_same_weights_changes_nothing(folders, tmp_path):
    for name, weak in (("none", "none"), ("other", str(folders / "other"))):
        words = ("--guidance-rules", "autoguidance", "--weak", weak, "--scales", "0,1,3")
        assert sweep(folders, tmp_path / name, *words) == 0
        found = pictures(tmp_path / name)
        np.testing.assert_allclose(found["1.0"], found["3.0"], atol=2 / 255)


def test_autoguidance_leaves_the_weaker_model_behind(folders, tmp_path):
    """Scale 0 is the weak model itself, here an average that is 0.7 times the weights; 3 goes beyond the model."""
    words = ("--guidance-rules", "autoguidance", "--weak", "0.05", "--scales", "0,1,3")
    assert sweep(folders, tmp_path / "out", *words) == 0
    assert sweep(folders, tmp_path / "weak", "--ema-lengths", "0.05", "--scales", "1") == 0
    found = pictures(tmp_path / "out")
    np.testing.assert_allclose(found["0.0"], pictures(tmp_path / "weak")["1.0"], atol=2 / 255)
    assert min(np.abs(found["1.0"] - found[w]).max() for w in ("0.0", "3.0")) > 2 / 255


def test_a_regressor_guides_the_age(folders, tmp_path):
    words = ("--guidance-rules", "classifier_gradient", "--judge", str(folders / "age"), "--judge-std", "2")
    assert sweep(folders, tmp_path / "out", *words, "--scales", "0,0.2") == 0
    found = pictures(tmp_path / "out")
    assert np.abs(found["0.0"] - found["0.2"]).max() > 1 / 255


def test_the_likelihood_of_an_age(folders):
    model, judge = api.load(folders / "run"), api.load(folders / "age")
    likelihood = judge.likelihood(model.schema, model.codec, std=4.0)
    x0 = jax.random.uniform(jax.random.key(0), (2, *tiny_runs.SIZE, 1), minval=-1.0)
    values, present = model.schema.encode([{"age": 50.0, "sex": "F"}, {"sex": "F"}])
    ages = judge.predict(np.asarray(model.process.to_unit(x0)))
    want = [-0.5 * ((ages[0] - 50) / 4) ** 2, 0.0]
    np.testing.assert_allclose(likelihood(x0, Condition(jnp.asarray(values), jnp.asarray(present))), want, rtol=1e-3)


def test_one_scale_a_covariate(folders, tmp_path):
    count = len(api.load(folders / "run").schema.names)
    equal, apart = ":".join(["2"] * count), ":".join(["4", *["1"] * (count - 1)])
    scales = ("--guidance-rules", "per_covariate", "--scales", f"{equal},{apart}")
    assert sweep(folders, tmp_path / "each", *scales) == 0
    assert sweep(folders, tmp_path / "one", "--scales", "2") == 0
    each = pictures(tmp_path / "each")
    np.testing.assert_allclose(each[equal], pictures(tmp_path / "one")["2.0"], atol=2 / 255)
    assert np.abs(each[equal] - each[apart]).max() > 1 / 255


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--guidance-rules", "autoguidance"), "--weak"),
        (("--weak", "none"), "--guidance-rules autoguidance"),
        (("--guidance-rules", "autoguidance", "--weak", "feeble"), "feeble"),
        (("--guidance-rules", "autoguidance", "--weak", "AGE"), "found age; expected diffusion"),
        (("--guidance-rules", "classifier_gradient"), "--judge"),
        (("--guidance-rules", "classifier_gradient", "--judge", "AGE", "--judge-std", "0"), "--judge-std"),
        (("--guidance-rules", "per_covariate", "--scales", "2"), "one a covariate: age"),
        (("--scales", "2:1:1"), "one number"),
        (("--scales", "2:a"), "one scale a covariate"),
    ],
)
def test_what_a_rule_lacks_is_named(folders, tmp_path, capsys, more, words):
    more = [str(folders / "age") if word == "AGE" else word for word in more]
    assert sweep(folders, tmp_path / "out", *more) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def people(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (12, *tiny_runs.SIZE)).astype(np.uint8)
    conditions = [{"age": 20.0000001 + 5 * i, "sex": "FM"[i % 2], "slice": 2.0 + i % 3} for i in range(12)]
    found = ImageSet(images, conditions, [f"p{i // 2}" for i in range(12)])
    monkeypatch.setattr(real_people, "read_real", lambda shards, contract: {"test": found})
    return found


def beside_people(folders, out, *more):
    start = ["sweep", str(folders / "run"), "--data", str(folders / "shards"), "--out", str(out), "--scales", "1"]
    return [*start, "--people", "test", "--age-model", str(folders / "age"), *more]


def test_a_table_beside_held_out_people(folders, people, tmp_path, capsys):
    settings = ["--samplers", "ddim,heun", "--calls", "3", "--reference", "ddpm:5", "--bootstrap", "6"]
    settings += ["--only", "slice=2,4", "--spacings", "trailing,optimised"]
    out = tmp_path / "out"
    assert main([*beside_people(folders, out), *settings, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows, (real,) = printed["cells"], printed["real"]
    assert real["pictures"] == 8
    assert real["age mae"] > 0
    settings_of = [(r["sampler"], r["spacing"], r["num_steps"], r["network_calls"]) for r in rows]
    assert sorted(settings_of) == [
        ("ddim", "optimised", 3, 3),
        ("ddim", "trailing", 3, 3),
        ("ddpm", "trailing", 5, 5),
        ("heun", "optimised", 2, 3),
        ("heun", "trailing", 2, 3),
    ]
    assert {r["pictures"] for r in rows} == {8}
    (reference,) = (r for r in rows if r["sampler"] == "ddpm")
    assert reference["meets"]
    assert reference["age mae more"] == reference["FD[small_cnn-pool] more"] == 0
    for row in rows:
        fd = "FD[small_cnn-pool]"
        assert row[f"{fd} low"] <= row[fd] <= row[f"{fd} high"]
        limits = all(row[name] <= reference[f"{name} high"] for name in (fd, "age mae"))
        assert row["meets"] == limits
        assert row[f"{fd} more"] == pytest.approx(row[fd] - reference[fd], abs=1e-9)
    assert len(table(out)) == len(rows) + 1
    with (out / rows[0]["cell"] / "manifest.csv").open() as stream:
        manifest = list(csv.DictReader(stream))
    assert {row["slice"] for row in manifest} == {"2.0", "4.0"}
    assert manifest[0]["age"] == "20.0"  # without the dust of float32
    # The text says value [low, high], and only what differs between the rows.
    assert main([*beside_people(folders, out), *settings, "--resume"]) == 0
    text = capsys.readouterr().out
    assert "meets" in text
    assert "guidance_scale" not in text
    assert " [" in text.splitlines()[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "age=20"], "--people"),
        (["--people", "tset"], "one of test"),
        (["--only", "slicee=4"], "slice"),
        (["--only", "slice=7"], "empty set"),
        (["--reference", "ddpm"], "SAMPLER:STEPS"),
        (["--reference", "ddpn:5"], "ddpm"),
        (["--reference", "ddpm:5000"], "num_steps"),
        (["--calls", "0"], "enough for one step"),
        (["--calls", "5", "--steps", "5"], "--steps"),
    ],
)
def test_what_makes_no_sense_is_refused(folders, people, tmp_path, capsys, more, message):
    assert main(beside_people(folders, tmp_path / "new", *more)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_people_need_a_reader_and_a_reference_needs_people(folders, tmp_path, capsys):
    start = ["sweep", str(folders / "run"), "--out", str(tmp_path / "new")]
    assert main([*start, "--people", "test", "--data", str(folders / "shards")]) == 2
    assert "--age-model" in capsys.readouterr().err
    assert main([*start, "--reference", "ddpm:5"]) == 2
    assert "--people" in capsys.readouterr().err


def test_a_sweep_that_does_not_fit_says_the_chunk_that_would(folders, tmp_path, capsys):
    start = ["sweep", str(folders / "run"), "--set", "age=20,30,40,50", "--scales", "1,3"]
    assert main([*start, "--out", str(tmp_path / "new"), "--memory-gib", "0.0001"]) == 2
    assert "memory: found" in capsys.readouterr().err
