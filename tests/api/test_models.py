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
    in_batches = model.sweep(CONDITIONS, [1.0, 3.0], num_steps=3, batch_size=2)  # 1 apart, the first step shared
    np.testing.assert_allclose(in_batches, swept, atol=1e-4)
    from brain_diffusion_jax.diffusion import sweep

    before = sweep._sweep._cache_size()
    model.sweep([{"age": 33}, {"sex": "M"}, {"slice": 2}], [0.5, 9.0], num_steps=3, seed=9)
    assert sweep._sweep._cache_size() == before


def test_a_folder_of_runs_says_which_they_are(tmp_path):
    for name, kind in (("model", "diffusion"), ("age", "age")):
        tiny_runs.bare_run(tmp_path / name, kind)
    (tmp_path / "config.json").write_text("{}")  # as a demo leaves it
    with pytest.raises(InputError, match=r"found a folder of runs; expected one of them: \S+/age, \S+/model$"):
        bdj.load(tmp_path, "diffusion")


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


def test_gan_samples_by_class_and_refuses_what_diffusion_has(tmp_path):
    model = bdj.load(tiny_runs.gan_run(tmp_path / "gan", tiny_runs.CLASSES))
    asked = [{"kind": "round"}, {"kind": "square"}, {}]
    pictures = model.sample(asked, seed=1)
    assert model.kind == "gan"
    assert pictures.shape == (3, *tiny_runs.SIZE, 1)
    assert 0 <= pictures.min() < pictures.max() <= 1
    np.testing.assert_allclose(pictures, model.sample(asked, seed=1, batch_size=2), atol=1e-5)
    assert np.abs(pictures[0] - model.sample([{"kind": "square"}], seed=1)[0]).max() > 1e-3
    assert model.sample([], seed=1).shape == (0, *tiny_runs.SIZE, 1)
    with pytest.raises(InputError, match="one of round, square"):
        model.sample([{"kind": "oval"}])
    for setting in ({"guidance_scale": 2.0}, {"num_steps": 5}, {"sampler": "ddim"}):
        with pytest.raises(InputError, match=f"{next(iter(setting))}.*one step"):
            model.sample(asked, **setting)


@pytest.mark.parametrize("kind", ["diffusion", "gan"])
def test_a_model_without_conditions_refuses_them(tmp_path, kind):
    overrides = ("conditioning.mode=none", "model.context_dim=None", "gan.conditional=False", tiny_runs.CLASSES)
    model = bdj.load(getattr(tiny_runs, f"{kind}_run")(tmp_path / kind, *overrides))
    assert not model.conditional
    settings = {"num_steps": 2} if kind == "diffusion" else {}
    assert model.sample([{}], **settings).shape == (1, *tiny_runs.SIZE, 1)
    with pytest.raises(InputError, match="without conditions"):
        model.sample([{}, {"kind": "round"}], **settings)


def test_class_model_names_classes(tmp_path):
    model = bdj.load(tiny_runs.class_run(tmp_path / "class", tiny_runs.CLASSES))
    images = np.random.default_rng(0).uniform(size=(5, *tiny_runs.SIZE, 1)).astype(np.float32)
    found = model.probabilities(images, batch_size=2)
    assert (model.kind, model.words, model.covariate) == ("class", ("round", "square"), "kind")
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert model.predict(images) == [model.words[i] for i in found.argmax(1)]
    assert model.features(images).shape[0] == 5
    with pytest.raises(InputError, match="0, 1"):
        model.probabilities(images * 255)


def test_network_that_takes_labels_as_numbers(tmp_path):
    overrides = ("conditioning.mode=scalar", "model.channels=8,16", tiny_runs.CLASSES)
    model = bdj.load(tiny_runs.diffusion_run(tmp_path / "scalar", *overrides))
    x, t = np.random.default_rng(0).normal(size=(2, *tiny_runs.SIZE, 1)).astype(np.float32), np.array([3.0, 7.0])
    found = model.network(x, t, class_labels=[1, np.nan])
    expected = model.module.apply(
        {"params": model.params}, x, t, np.array([[1.0], [0.0]], np.float32), np.array([[True], [False]])
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found[0] - model.network(x, t)[0]).max() > 1e-4
    assert model.sample([{"kind": "round"}], num_steps=2).shape == (1, *tiny_runs.SIZE, 1)
    with pytest.raises(InputError, match="cross-attention"):
        model.network(x, t, np.zeros((2, 1, 1)))
