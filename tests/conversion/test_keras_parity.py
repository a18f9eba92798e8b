"""Converted networks against Keras itself: layer by layer, at several sizes, through the file, and gradients."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

import lzma
import shutil
import subprocess
import sys
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
    """A random DeepBrainNet in Keras, batch statistics too; a `functional` one has no inner model."""
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

    @jax.jit
    def mine(variables, images):
        features, state = network.apply(variables, images, features=True, capture_intermediates=True)
        return features, network.apply(variables, images), state["intermediates"]["trunk"]

    def head(maps):
        x = maps
        for layer in model.layers[-4:]:
            x = layer(x, training=False) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return x[:, 0]

    # Layer by layer at one size: every convolution and normalisation that has a name in both.
    keras = pytest.importorskip("keras")
    features, ages, inside = mine(converted.variables, images)
    outputs = {k: v["__call__"][0] for k, v in inside.items() if isinstance(v, dict)}
    shared = [layer for layer in base.layers if layer.name in outputs and layer.weights]
    theirs = keras.Model(base.input, [*[layer.output for layer in shared], base.output])(images, training=False)
    own = [outputs[layer.name] for layer in shared]
    if backbone == "vgg16":  # its Keras convolutions include their ReLU
        own = [jax.nn.relu(x) for x in own]
    errors = {layer.name: relative_error(a, b) for layer, a, b in zip(shared, own, theirs, strict=False)}
    assert len(errors) >= {"vgg16": 13, "resnet50": 106, "densenet169": 337, "inception_resnet_v2": 41}[backbone]
    assert max(errors.values()) <= 1e-4, max(errors.items(), key=lambda item: item[1])
    assert relative_error(inside["__call__"][0], theirs[-1]) <= 1e-4
    assert relative_error(ages, head(theirs[-1])) <= 1e-4

    # Another size, grey pictures: the whole network.
    grey = np.random.default_rng(1).random((1, 107, 83, 1), np.float32)
    features, ages, _ = mine(converted.variables, grey)
    maps = base(np.repeat(grey, 3, axis=-1), training=False)
    assert relative_error(features, jnp.mean(maps, (1, 2))) <= 1e-4
    assert relative_error(ages, head(maps)) <= 1e-4


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50"])
def test_gradients_of_a_training_step_equal_keras(backbone, tmp_path):
    """Mean squared error in training mode: batch statistics of the batch, moving statistics updated."""
    model, _ = keras_model(backbone, False)
    model.layers[-2].rate = 0.0  # dropout draws differ; everything else must not
    model.save(tmp_path / "model.h5")
    converted = convert(tmp_path / "model.h5")
    network = make_age_network(**{**converted.age_model, "dropout": 0.0})
    images = np.random.default_rng(0).random((3, 64, 72, 3), np.float32)
    years = np.array([30.0, 50.0, 70.0], np.float32)

    @jax.jit
    def their_gradients(trainable, non_trainable):
        def loss(trainable):
            ages, moved = model.stateless_call(trainable, non_trainable, images, training=True)
            return jnp.mean((ages[:, 0] - years) ** 2), moved

        return jax.value_and_grad(loss, has_aux=True)(trainable)

    @jax.jit
    def my_gradients(variables, images, years):
        def loss(params):
            rest = {k: v for k, v in variables.items() if k != "params"}
            ages, moved = network.apply({"params": params, **rest}, images, train=True, mutable=["batch_stats"])
            return jnp.mean((ages - years) ** 2), moved

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    trainable = [v.value for v in model.trainable_variables]
    (their_loss, moved), gradients = their_gradients(trainable, [v.value for v in model.non_trainable_variables])
    (my_loss, my_moved), mine = my_gradients(converted.variables, images, years)
    # The same batch in another order: what differs is float32 rounding, which differs between processors.
    _, reordered = my_gradients(converted.variables, images[::-1], years[::-1])
    assert relative_error(my_loss, their_loss) <= 1e-4
    ours = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
    heads = {layer.name: name for layer, name in zip([model.layers[-3], model.layers[-1]], ["dense0", "output"])}

    def leaf(variable, tree):
        layer, kind = variable.path.split("/")[-2:]
        node = tree[heads[layer]] if layer in heads else tree["trunk"][layer]
        return np.asarray(node[ours.get(kind, kind)])

    def compare(variable, theirs, tree, tolerance):
        found = leaf(variable, tree)
        assert np.linalg.norm(found - theirs) <= tolerance * np.linalg.norm(theirs), variable.path

    scale = max(float(np.abs(g).max()) for g in gradients)
    pairs = list(zip(model.trainable_variables, gradients, strict=True))
    # A bias before batch normalisation has no gradient but rounding.
    pairs = [(v, g) for v, g in pairs if np.abs(g).max() > 1e-5 * scale]
    # 53 normalisations over a few pixels amplify float32 rounding, to 2 % here; a wrong wiring is off by 1.
    rounding = max(np.linalg.norm(leaf(v, reordered) - leaf(v, mine)) / np.linalg.norm(g) for v, g in pairs)
    assert rounding < 0.05
    for variable, theirs in pairs:
        compare(variable, theirs, mine, max(2e-3 if backbone == "vgg16" else 3e-2, 4 * rounding))
    if backbone == "resnet50":
        for variable, theirs in zip(model.non_trainable_variables, moved, strict=True):
            if "moving" in variable.path:
                compare(variable, theirs, my_moved["batch_stats"], 1e-4)


@pytest.fixture(scope="session")
def genuine(tmp_path_factory):
    """A function from a name to a file written by Keras 2.2.4, unpacked, and what Keras computed."""

    def find(name: str):
        data = shared_folder("oasis1_mni2mm")
        folder = data.parent.parent / "fixtures" / "keras224" if data else Path("/nowhere")
        if not (folder / f"{name}_keras224.h5.xz").exists():
            pytest.skip("no genuine Keras 2.2.4 files: ../shared/fixtures/keras224")
        file = tmp_path_factory.mktemp("keras224") / f"{name}.h5"
        with lzma.open(folder / f"{name}_keras224.h5.xz") as packed, file.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 22)
        with np.load(folder / f"{name}_keras224_io.npz") as items:
            return file, dict(items)

    return find


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["VGG16", "ResNet50"])
def test_files_of_genuine_keras_224(name, genuine):
    file, expected = genuine(name)
    converted = convert(file)
    assert converted.age_model["backbone"] == name.lower()
    assert (converted.age_model["dense"], converted.age_model["dropout"]) == ((1024,), 0.8)
    assert "Keras 2.2.4, nested Sequential" in converted.findings[1]
    network = make_age_network(**converted.age_model)
    ages = network.apply(converted.variables, expected["images"])
    features = network.apply(converted.variables, expected["images"], features=True)
    assert relative_error(features, expected["features"]) <= 1e-4
    assert relative_error(ages, expected["ages"][:, 0]) <= 1e-4
    file.unlink()


@pytest.mark.realdata
def test_conversion_needs_less_than_twice_the_weights(genuine, tmp_path):
    """Peak memory of reading, above what the process had before, in a process of its own."""
    file, _ = genuine("ResNet50")
    program = (
        "import resource, sys, jax, h5py\n"
        "from brain_diffusion_jax.conversion import keras_convert as k\n"
        "import tests.conversion.keras_writer as w\n"
        "w.network_of('resnet50', 0.0625)\n"  # everything imported and traced once
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak()\n"
        "c = k.convert(sys.argv[1])\n"
        "size = sum(a.nbytes for a in jax.tree.leaves(c.variables))\n"
        "print((peak() - before) / size)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2.0
    file.unlink()
