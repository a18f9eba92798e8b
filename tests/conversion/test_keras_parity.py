"""Converted networks against Keras itself: layer by layer, at several sizes, through the file, and gradients."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

import lzma
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.conversion.keras_convert import convert
from brain_diffusion_jax.models.deep_brain_net import make_age_network
from tests.conftest import shared_folder

pytestmark = pytest.mark.parity

BUILDERS = {
    "vgg16": "VGG16",
    "resnet50": "ResNet50",
    "densenet169": "DenseNet169",
    "inception_resnet_v2": "InceptionResNetV2",
}


def relative_error(mine, theirs) -> float:
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(mine - theirs).max() / max(np.abs(theirs).max(), 1e-12))


@cache
def keras_model(backbone: str, nested: bool):
    """A random DenseBrainNet in Keras, batch statistics too; a `functional` one has no inner model."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(7)
    base = getattr(keras.applications, BUILDERS[backbone])(include_top=False, weights=None, input_shape=(None, None, 3))
    top = [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(24, activation="relu"),
        keras.layers.Dropout(0.8),
        keras.layers.Dense(1),
    ]
    if nested:
        model = keras.Sequential([keras.Input((None, None, 3)), base, *top])
    else:
        x = base.output
        for layer in top:
            x = layer(x)
        model = keras.Model(base.input, x)
    generator = np.random.default_rng(3)
    for weight in model.weights:
        shape, name = weight.shape, weight.path.rsplit("/", 1)[-1]
        noise = generator.standard_normal(shape).astype(np.float32)
        if name in ("gamma", "moving_variance"):
            weight.assign(np.exp(0.1 * noise))
        elif name in ("beta", "bias", "moving_mean"):
            weight.assign(0.1 * noise)
    return model, base


@pytest.mark.parametrize(
    ("backbone", "nested", "suffix"),
    [
        ("vgg16", True, ".keras"),
        ("resnet50", False, ".h5"),
        ("densenet169", True, ".h5"),
        ("inception_resnet_v2", False, ".keras"),
    ],
)
def test_ages_features_and_layers_equal_keras(backbone, nested, suffix, tmp_path):
    model, base = keras_model(backbone, nested)
    file = tmp_path / f"model{suffix}"
    model.save(file)
    converted = convert(file)
    assert converted.age_model["backbone"] == backbone
    assert converted.age_model["dense"] == (24,)
    network = make_age_network(**converted.age_model)
    images = np.random.default_rng(0).random((2, 75, 96, 3), np.float32)

    # Layer by layer at one size: every named convolution and normalisation that both sides have.
    keras = pytest.importorskip("keras")
    ages, state = network.apply(converted.variables, images, capture_intermediates=True, mutable=["intermediates"])
    mine = {k: v["__call__"][0] for k, v in state["intermediates"]["trunk"].items() if isinstance(v, dict)}
    shared = [layer for layer in base.layers if layer.name in mine and layer.weights]
    theirs = keras.Model(base.input, [*[layer.output for layer in shared], base.output])(images, training=False)
    errors = {layer.name: relative_error(mine[layer.name], out) for layer, out in zip(shared, theirs, strict=False)}
    # VGG16's Keras layers include their ReLU.
    if backbone == "vgg16":
        errors = {k: relative_error(jax.nn.relu(mine[k]), o) for k, o in zip(errors, theirs, strict=False)}
    assert len(errors) >= {"vgg16": 13, "resnet50": 106, "densenet169": 337, "inception_resnet_v2": 41}[backbone]
    assert max(errors.values()) <= 1e-4, max(errors.items(), key=lambda item: item[1])
    assert (
        relative_error(mine["__call__"] if "__call__" in mine else network_map(network, converted, images), theirs[-1])
        <= 1e-4
    )
    assert relative_error(ages, model(images, training=False)[:, 0]) <= 1e-4

    # Another size, grey pictures: the whole network.
    grey = np.random.default_rng(1).random((1, 107, 83, 1), np.float32)
    colour = np.repeat(grey, 3, axis=-1)
    assert relative_error(network.apply(converted.variables, grey), model(colour, training=False)[:, 0]) <= 1e-4
    features = jnp.mean(base(colour, training=False), (1, 2))
    assert relative_error(network.apply(converted.variables, grey, features=True), features) <= 1e-4


def network_map(network, converted, images):
    """The backbone's last map."""
    inner = {k: v["trunk"] for k, v in converted.variables.items()}
    return network.trunk.apply(inner, jnp.asarray(images))
