"""Guidance rules of a sweep that need a weaker model, a judge, or one scale a covariate."""

from __future__ import annotations

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.covariates import Condition
from brain_diffusion_jax.data.sample_folder import read_pictures
from brain_diffusion_jax.training.run_folder.store import Store


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("guides")
    run = tiny_runs.diffusion_run(root / "run")
    store = Store(run)
    weak = jax.tree.map(lambda a: np.float32(0.7 * a), api.load(run).params)
    for step in (10, 20):
        store.snapshot(step, {"0.05": weak, "0.1": weak})
    store.wait()
    store.close()
    tiny_runs.diffusion_run(root / "other")
    tiny_runs.age_run(root / "age")
    return root


def sweep(folders, out, *more):
    words = ["sweep", str(folders / "run"), "--set", "age=20,60", "sex=F", "--steps", "3", "--samplers", "ddim"]
    return main([*words, "--out", str(out), *more])


def pictures(out):
    with (out / "sweep.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {row["guidance_scale"]: read_pictures(out / row["cell"])[0] for row in rows}


@pytest.mark.parametrize("weak", ["none", "other"])
def test_autoguidance_by_a_weaker_model(folders, tmp_path, weak):
    """The tiny runs' averages equal their weights, so that the weak model is the model and guidance changes nothing."""
    weak = str(folders / weak) if weak == "other" else weak
    words = ("--guidance-rules", "autoguidance", "--weak", weak, "--scales", "1,3")
    assert sweep(folders, tmp_path / "out", *words) == 0
    found = pictures(tmp_path / "out")
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
    likelihood = judge.likelihood(model.schema, model.process, std=4.0)
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
        (("--guidance-rules", "autoguidance", "--weak", "AGE"), "a diffusion model"),
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
