"""The explorer's pictures are those of `sample`; its readings are those of the regressor and of the training set."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
import small_shards
import tiny_runs

from brain_diffusion_jax import api
from brain_diffusion_jax import config as configs
from brain_diffusion_jax.api import exploring
from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics.memorisation import nearest_images
from brain_diffusion_jax.evaluation.study import real_people
from brain_diffusion_jax.pixels import to_uint8, to_unit
from brain_diffusion_jax.tasks.spec import spec
from brain_diffusion_jax.training.run_folder import checkpoints

WISH = exploring.Wish({"age": (20.0, 80.0), "sex": ("F",), "slice": (3.0,)}, scales=(1.0, 3.0), seeds=(0, 4))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return api.load(tiny_runs.diffusion_run(tmp_path_factory.mktemp("explore") / "run"), "diffusion")


@pytest.fixture(scope="module")
def explored(model):
    planned = exploring.plan_of(model, WISH)
    told = []
    images = exploring.pictures(model, planned, batch_size=8, progress=lambda *n: told.append(n))
    assert (told[0], told[-1]) == ((0, 8), (8, 8))
    return planned, images


def test_the_pictures_are_those_of_sample(model, explored):
    planned, images = explored
    assert planned.axes.count == len(images) == 8
    grid = images.reshape(2, 2, 2, *images.shape[1:])  # age, scale, seed
    for a, age in enumerate((20.0, 80.0)):
        for k, seed in enumerate((0, 4)):
            wanted = model.sweep([{"age": age, "sex": "F", "slice": 3}], [1.0, 3.0], seed=seed)[:, 0]
            np.testing.assert_allclose(grid[a, :, k], wanted, atol=2e-5)
    assert np.abs(grid[0] - grid[1]).max() > 0.02  # the age is told
    assert np.abs(grid[:, :, 0] - grid[:, :, 1]).max() > 0.02  # and the seed counts


def test_readings_are_made_of_the_pictures_that_are_shown(model, explored, tmp_path, monkeypatch):
    images, age = explored[1], tiny_runs.age_run(tmp_path / "age")
    found, notes = exploring.readings_of(model, images, exploring.Readers())
    assert found == []
    assert len(notes) == 2  # no distance and no threshold without training pictures

    training = ImageSet(np.round(255 * np.random.default_rng(0).random((6, *tiny_runs.SIZE, 1))), [{}] * 6, ["p"] * 6)
    training = ImageSet(training.images.astype(np.uint8), training.conditions, training.people)
    monkeypatch.setattr(real_people, "open_real", lambda *_: ("shards", model.contract, {"train": training}))
    found, notes = exploring.readings_of(model, images, exploring.Readers(age, "shards"))
    assert notes == []
    shown = to_unit(to_uint8(images))
    ages, dark, near = found
    assert (ages.name, ages.unit) == ("predicted age", "years")
    np.testing.assert_allclose(ages.values, api.load(age).predict(shown))
    np.testing.assert_allclose(near.values, nearest_images(shown, training.unit).distance)
    assert "dark fraction" in dark.name
    assert ((dark.values >= 0) & (dark.values <= 100)).all()


def test_no_default_is_outside_the_domain_or_above_the_limit(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of a condition that extrapolates
        planned = exploring.plan_of(model, exploring.Wish())
        model.schema.encode(planned.axes.conditions())
    assert planned.axes.count <= exploring.MOST
    assert planned.bytes <= exploring.MOST_BYTES
    assert "pictures, at most" in planned.text()


def opened(folder):
    """The model of a run whose weights belong to no network, for what samples nothing."""
    config = spec("diffusion").read(configs.from_json(checkpoints.read_config(folder)))
    return api.DiffusionModel(folder, config, Contract.load(folder), {})


def test_of_volumes_there_are_as_many_as_a_page_holds(tmp_path):
    contract = small_shards.Blobs((80, 96, 80), 3).contract()
    folder = tiny_runs.bare_run(tmp_path / "run", "diffusion", "model.spatial_dims=3")
    contract.save(folder)
    planned = exploring.plan_of(opened(folder), exploring.Wish())
    assert planned.axes.text() == "8 age x 2 sex"
    assert planned.bytes < exploring.MOST_BYTES


def test_the_command_writes_a_page_beside_the_run(model, capsys):
    run = str(model.path)
    words = ["explore", run, "--set", "age=20,80", "sex=F", "slice=3", "--scales", "1,3", "--seeds", "0,4"]
    assert main([*words, "--batch", "8", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["pictures"] == 8
    assert "2 age x 2 guidance scale x 2 seed = 8 pictures, about" in said.err
    text = (model.path / "explore.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text).group(1))
    assert [axis["name"] for axis in data["axes"]] == ["age", "sex", "slice", "guidance scale", "seed"]
    for more, message in ((["--limit", "7"], "8; expected at most 7"), (["--limit", "0"], "1 or more")):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
    assert main(["explore", run, "--set", "agee=20"]) == 2
    assert "agee" in capsys.readouterr().err
    assert main(["explore", run, "--out", str(model.path / "explore.html"), *words[2:]]) == 2
    assert "name of a new file" in capsys.readouterr().err


def test_a_model_without_conditions_has_seeds(tmp_path):
    folder = tiny_runs.bare_run(tmp_path / "run", "diffusion", "conditioning.mode=none", "model.context_dim=None")
    planned = exploring.plan_of(opened(folder), exploring.Wish())
    assert planned.axes.text() == "8 seed"
