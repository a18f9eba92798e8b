"""Which network gives perceptual features, and where it does not fit the images."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs
from test_volume_backbones import medical_state

from brain_diffusion_jax.config import base_config
from brain_diffusion_jax.conversion import torch_files
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.losses.perceptual import feature_distance
from brain_diffusion_jax.models.backbones import deepbet, medicalnet
from brain_diffusion_jax.tasks.autoencoder import perceptual_network
from brain_diffusion_jax.tasks.autoencoder.config import AutoencoderLoss
from brain_diffusion_jax.tasks.autoencoder.perceptual_network import open_network
from brain_diffusion_jax.tasks.opening import open_run
from brain_diffusion_jax.tasks.spec import DataInfo, spec
from brain_diffusion_jax.training.run_folder.changes import changes, forbidden


def of_run(run) -> AutoencoderLoss:
    return AutoencoderLoss(perceptual=1.0, perceptual_run=str(run))


def test_a_regressor_gives_its_pooled_features(tmp_path):
    with pytest.raises(InputError, match=r"loss\.perceptual_run.*of kind autoencoder"):
        open_network(of_run(tiny_runs.autoencoder_run(tmp_path / "run")), 2, 1)
    run = tiny_runs.age_run(tmp_path / "age")
    features, flat, version = open_network(of_run(run), 3, 1)
    assert flat
    assert version == f"age {open_run(run).version}"
    (found,) = jax.eval_shape(features, jnp.zeros((2, *tiny_runs.SIZE, 1)))
    assert (found.ndim, found.shape[0]) == (2, 2)


def test_medicalnet_gives_its_last_maps(tmp_path):
    path = torch_files.write_state(tmp_path / "resnet_10.safetensors", medical_state(10, 1 / 64))
    loss = AutoencoderLoss(perceptual=1.0, perceptual_network="medicalnet", perceptual_weights=str(path))
    features, flat, version = open_network(loss, 3, 1)
    assert not flat
    assert version.startswith("MedicalNet ResNet-10 sha256 ")
    (found,) = jax.eval_shape(features, jnp.zeros((2, 16, 24, 8, 1)))
    assert found.shape == (2, 2, 3, 1, 8)
    for images in ((2, 1), (3, 3)):
        with pytest.raises(InputError, match=r"loss\.perceptual_network: found medicalnet, which reads grey volumes"):
            open_network(loss, *images)


def test_deepbet_gives_three_stages_and_is_refused_for_slices(monkeypatch):
    loss = AutoencoderLoss(perceptual=1.0, perceptual_network="deepbet")
    with pytest.raises(InputError, match=r"found deepbet.*expected run: these are images of 2 axes and 1 channels"):
        open_network(loss, 2, 1)
    encoder = deepbet.DeepbetEncoder(3)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 20, 8, 8, 1)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    monkeypatch.setattr(perceptual_network.deepbet_weights, "encoder", lambda: (encoder, variables, "1"))
    features, flat, version = open_network(loss, 3, 1)
    assert not flat
    assert version == "1"
    found = jax.eval_shape(features, jnp.zeros((2, 32, 24, 20, 1)))
    assert [maps.shape[1:] for maps in found] == [(8, 6, 5, 16), (4, 3, 3, 32), (2, 2, 2, 64)]


def test_a_run_keeps_the_weights_that_it_compares_by(tmp_path):
    declared = spec("autoencoder")
    data = DataInfo(Schema(()), tiny_runs.SIZE)

    records = []
    for width in (0.1, 0.2):
        network = of_run(tiny_runs.age_run(tmp_path / f"age{width}", f"age_model.width={width}"))
        config = replace(declared.read(base_config("autoencoder")), loss=network)
        records.append(declared.record(declared.resolve(config, data)))
    assert forbidden(declared.kept, changes(*records)) == ["loss.perceptual_version"]
    assert forbidden(declared.kept, changes(records[0], records[0])) == []
    other = replace(config, loss=replace(config.loss, perceptual_version="age of another run"))
    with pytest.raises(InputError, match=r"loss\.perceptual_version: found age of another run"):
        declared.resolve(other, data)


@pytest.mark.parametrize("prepare", [medicalnet.prepare_input, deepbet.prepare_input])
def test_a_flat_reconstruction_has_a_gradient(prepare):
    target = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 3, 4, 2, 1)), jnp.float32)
    flat = jnp.full_like(target, 0.5)

    def distance(output):
        return feature_distance(lambda images: [jnp.tanh(prepare(images))], output, target).sum()

    assert bool(jnp.isfinite(jax.grad(distance)(flat)).all())


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"perceptual_network": "vgg"}, r"perceptual_network: found vgg; expected one of run, medicalnet, deepbet"),
        ({"perceptual_network": "medicalnet"}, "perceptual_weights: found nothing"),
        ({"perceptual_run": "x", "perceptual_weights": "y.pth"}, r"perceptual_weights: found y\.pth"),
        ({}, "perceptual_run: found nothing"),
    ],
)
def test_what_does_not_belong_together_is_named(settings, field):
    with pytest.raises(InputError, match=field):
        AutoencoderLoss(perceptual=1.0, **settings)
