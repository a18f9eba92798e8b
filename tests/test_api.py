from __future__ import annotations

import jax
import numpy as np
import pytest
import tiny_runs

import brain_diffusion_jax as bdj
from brain_diffusion_jax.errors import InputError

CONDITIONS = [{"age": 70, "sex": "F", "slice": 3}, {"age": 25}, {}]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return bdj.load(tiny_runs.diffusion_run(tmp_path_factory.mktemp("runs") / "diffusion"))


def test_sample_gives_unit_pictures_of_the_contract(model):
    pictures = model.sample(CONDITIONS, num_steps=3)
    assert model.kind == "diffusion"
    assert pictures.shape == (3, *tiny_runs.SIZE, 1)
    assert pictures.dtype == np.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert model.sample([], num_steps=3).shape == (0, *tiny_runs.SIZE, 1)


def test_same_seed_same_pictures_whatever_the_batch(model):
    one = model.sample(CONDITIONS, num_steps=3, seed=5)
    np.testing.assert_allclose(one, model.sample(CONDITIONS, num_steps=3, seed=5, batch_size=2), atol=1e-5)
    np.testing.assert_allclose(one[:1], model.sample(CONDITIONS[:1], num_steps=3, seed=5), atol=1e-5)
    assert np.abs(one - model.sample(CONDITIONS, num_steps=3, seed=6)).max() > 1e-3


def test_conditions_and_guidance_reach_the_network(model):
    young, old = model.sample([{"age": 20}], num_steps=3), model.sample([{"age": 90}], num_steps=3)
    assert np.abs(young - old).max() > 1e-4
    null = model.sample([{}], guidance_scale=1.0, num_steps=3)
    np.testing.assert_allclose(model.sample([{"age": 90}], guidance_scale=0.0, num_steps=3), null, atol=1e-5)


def test_a_sweep_is_its_samples_and_compiles_once(model):
    swept = model.sweep(CONDITIONS, [1.0, 3.0], num_steps=3)
    for scale, pictures in zip([1.0, 3.0], swept, strict=True):
        np.testing.assert_allclose(pictures, model.sample(CONDITIONS, guidance_scale=scale, num_steps=3), atol=1e-4)
    from brain_diffusion_jax.diffusion import sweep

    before = sweep._sweep._cache_size()
    model.sweep([{"age": 33}, {"sex": "M"}, {"slice": 2}], [0.5, 9.0], num_steps=3, seed=9)
    assert sweep._sweep._cache_size() == before


def test_network_is_the_raw_forward_pass(model):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2, *tiny_runs.SIZE, 1)).astype(np.float32), np.array([3.0, 7.0])
    context = rng.normal(size=(2, 3, 8)).astype(np.float32)
    expected = model.module.unet.clone(parent=None, name=None).apply({"params": model.params["unet"]}, x, t, context)
    np.testing.assert_allclose(model.network(x, t, context), expected, atol=1e-5)
    assert np.abs(np.asarray(model.network(x, t, context)) - np.asarray(model.network(x, t, 2 * context))).max() > 1e-4


def test_foreign_weights_without_a_contract_need_a_size(tmp_path):
    model = bdj.load(tiny_runs.diffusion_run(tmp_path / "foreign", with_contract=False))
    assert model.contract is None
    with pytest.raises(InputError, match="image_size"):
        model.sample([{}], num_steps=2)
    assert model.sample([{}], num_steps=2, image_size=(9, 10)).shape == (1, 9, 10, 1)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"sampler": "ddimm"}, "ddim"),
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 21}, "20"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"eta": 2.0}, "eta"),
        ({"spacing": "nowhere"}, "spacing"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(model, settings, word):
    with pytest.raises(InputError, match=word):
        model.sample([{}], **{"num_steps": 3, **settings})
    with pytest.raises(InputError, match="nearest: age"):
        model.sample([{"agee": 3}], num_steps=2)


def test_age_model_predicts_and_gives_features(tmp_path):
    model = bdj.load(tiny_runs.age_run(tmp_path / "age"))
    images = np.random.default_rng(0).uniform(size=(5, *tiny_runs.SIZE, 1)).astype(np.float32)
    ages, features = model.predict(images), model.features(images)
    assert model.kind == "age"
    assert ages.shape == (5,)
    assert features.ndim == 2
    np.testing.assert_allclose(model.predict(images, batch_size=2), ages, rtol=1e-4)
    np.testing.assert_allclose(model.predict(np.repeat(images, 3, -1)), ages, rtol=1e-4)
    for bad, word in ((images * 255, "0, 1"), (images[0], "rows, cols"), (images * np.nan, "0, 1")):
        with pytest.raises(InputError, match=word):
            model.predict(bad)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        bdj.load(tmp_path)


def test_loading_does_not_touch_devices_more_than_needed(model):
    assert sum(leaf.size for leaf in jax.tree.leaves(model.params)) > 1000
    assert "M parameters" in repr(model)
