"""Keras files of every layout give the same weights; what is no such file is refused with a list."""

from __future__ import annotations

import copy
import json
import zipfile

import h5py
import jax
import numpy as np
import pytest

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.conversion import keras_files
from brain_diffusion_jax.conversion.keras_convert import convert
from brain_diffusion_jax.errors import InputError
from tests.conversion import keras_writer as writer


@pytest.fixture(scope="module")
def vgg():
    network, variables = writer.network_of("vgg16")
    return variables, writer.layers_of(network, variables), writer.head_of(network, variables)


def assert_same(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


LAYOUTS = {
    "keras 2.2 nested": dict(nested=True, as_bytes=True, optimizer=True),
    "keras 2.2.0, bare list": dict(nested=True, bare_list=True),
    "keras 2.x functional": dict(nested=False),
    "tf_keras nested": dict(nested=True, class_name="Functional", optimizer=True),
    "keras 3 h5": dict(nested=False, class_name="Functional", suffix=""),
    "names behind a scope": dict(nested=True, weight_prefix="base/"),
    "names say nothing": dict(nested=True, anonymous=True),
    "chunked attributes": dict(nested=True, chunk=5, as_bytes=True),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_weights(name, vgg, tmp_path):
    variables, inner, top = copy.deepcopy(vgg)
    converted = convert(writer.write(tmp_path / "m.h5", inner, top, **LAYOUTS[name]))
    assert_same(converted.variables, variables)
    assert converted.age_model["dense"] == (6,)
    assert converted.age_model["dropout"] == 0.8
    assert ("optimizer state" in converted.findings[1]) == LAYOUTS[name].get("optimizer", False)


@pytest.mark.parametrize("anonymous", [False, True])
def test_old_resnet_names_and_trainable_first_order(anonymous, tmp_path):
    network, variables = writer.network_of("resnet50", norm_eps=1e-3)
    inner = writer.layers_of(network, variables, lambda name, kind: writer.old_resnet_name(name))
    file = writer.write(tmp_path / "r.h5", inner, writer.head_of(network, variables), anonymous=anonymous)
    converted = convert(file)
    assert_same(converted.variables, variables)
    assert converted.age_model["norm_eps"] == 1e-3
    assert converted.age_model["backbone_options"] == {"pool_padding": True}


def test_numbered_layers_are_matched_by_number_and_lambdas_by_their_config(tmp_path):
    network, variables = writer.network_of("inception_resnet_v2")
    numbers = {"conv2d": 203, "batch_normalization": 7}  # a session that built other models before

    def rename(name: str, kind: str) -> str:
        if name.startswith("conv_7b") or (kind == "conv2d" and name.endswith("_conv")):
            return name
        numbers[kind] += 1
        return f"{kind}_{numbers[kind]}"

    inner = writer.layers_of(network, variables, rename)
    # Keras sorts layers by depth, not by creation: the number is all there is.
    inner = [inner[0], *sorted(inner[1:], key=lambda layer: layer["name"][::-1])]
    file = writer.write(tmp_path / "i.h5", inner, writer.head_of(network, variables), anonymous=True)
    converted = convert(file)
    assert_same(converted.variables, variables)
    assert converted.age_model["backbone_options"] == {"residual_scales": (0.17, 0.1, 0.2, 1.0)}


def refused(file) -> str:
    with pytest.raises(InputError) as caught:
        convert(file)
    return str(caught.value)


def test_published_files_are_recognised_by_their_hash(vgg, tmp_path, monkeypatch):
    _, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top)
    assert "none of the published files" in convert(file).findings[0]
    monkeypatch.setitem(keras_files.PUBLISHED, keras_files.sha256(file), "DeepBrainNet_VGG16.h5")
    assert "the published DeepBrainNet_VGG16.h5" in convert(file).findings[0]
    assert len(set(keras_files.PUBLISHED)) == 6


@pytest.mark.parametrize("keep", [0.5, 0.97])
def test_a_truncated_file_is_refused_and_nothing_is_written(keep, vgg, tmp_path, capsys):
    _, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    assert main(["convert", "keras", str(file), "--out", str(tmp_path / "run")]) == 2
    assert "whole" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_is_no_model_is_refused(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    (tmp_path / "text.h5").write_text("hello")
    assert "HDF5" in refused(tmp_path / "text.h5")
    assert "no such file" in refused(tmp_path / "absent.h5")
    weights_only = writer.write(tmp_path / "w.h5", inner, top, nested=False, model_config=False)
    assert "weights only" in refused(weights_only)
    assert "model.save()" in refused(weights_only)
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
    assert "model.weights.h5" in refused(tmp_path / "a.keras")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    assert "model_config" in refused(tmp_path / "other.h5")


def test_another_architecture_is_named(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    extra = [copy.deepcopy(inner[4]) | {"name": f"block6_conv{i}"} for i in range(3)]
    for layer in extra:
        layer["config"]["name"] = layer["name"]
    message = refused(writer.write(tmp_path / "m.h5", [*inner, *extra], top))
    assert "16 convolutions" in message
    assert "vgg16 13" in message
    depthwise = [*inner, writer.item("DepthwiseConv2D", "dw", {"kernel_size": [3, 3]}, ["block1_conv1"])]
    assert "DepthwiseConv2D" in refused(writer.write(tmp_path / "d.h5", depthwise, top))
    wide = copy.deepcopy(inner)
    wide[1]["config"]["strides"] = [2, 2]
    assert "block1_conv1 (Conv2D): strides (2, 2); expected (1, 1)" in refused(
        writer.write(tmp_path / "s.h5", wide, top)
    )
    no_age = copy.deepcopy(top)
    no_age[-1]["config"]["units"] = 10
    assert "the last must have 1" in refused(writer.write(tmp_path / "u.h5", inner, no_age))


def test_missing_and_misshapen_weights_are_all_listed(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    del inner[2]["weights"]["bias"]
    inner[3]["weights"]["kernel"] = inner[3]["weights"]["kernel"][:, :, :-1]
    missing = refused(writer.write(tmp_path / "m.h5", inner, top, nested=False))
    assert "block1_conv2" in missing
    assert "bias" in missing
    _, inner, top = copy.deepcopy(vgg)
    inner[3]["weights"]["kernel"] = inner[3]["weights"]["kernel"][:, :, :-1]
    inner[5]["weights"]["bias"] = np.zeros(99, np.float32)
    shapes = refused(writer.write(tmp_path / "s.h5", inner, top))
    assert "block2_conv1/kernel: shape (3, 3, 3, 8); expected (3, 3, 4, 8)" in shapes
    assert "(99,)" in shapes
    _, inner, top = copy.deepcopy(vgg)
    inner[3]["weights"]["kernel"][0] = np.nan
    assert "NaN" in refused(writer.write(tmp_path / "n.h5", inner, top))


def test_a_lambda_is_never_run(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    code = {"function": [writer.POISON, None, None], "function_type": "lambda", "arguments": {}}
    message = refused(writer.write(tmp_path / "m.h5", [*inner, writer.item("Lambda", "trick", code)], top))
    assert "trick" in message
    assert "never executed" in message


def test_groups_missing_from_the_file_are_listed(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top)
    with h5py.File(file, "r+") as opened:
        del opened["model_weights/dense_1"]
        del opened["model_weights/base/block3_conv1/kernel:0"]
    message = refused(file)
    assert "dense_1: named in layer_names" in message
    assert "block3_conv1/kernel:0" in message


def test_the_converted_run_opens_in_the_api(vgg, tmp_path, capsys):
    import brain_diffusion_jax as bdj

    variables, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top, optimizer=True)
    assert main(["convert", "keras", str(file), "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["age_model"]["backbone"] == "vgg16"
    model = bdj.load(tmp_path / "run")
    assert (model.kind, model.contract) == ("age", None)
    images = np.random.default_rng(0).random((3, 40, 33, 1)).astype(np.float32)
    expected = model.module.apply(variables, images)
    np.testing.assert_allclose(model.predict(images), expected, rtol=1e-5)
    assert model.features(images).shape == (3, 32)
    assert main(["convert", "keras", str(file), "--out", str(tmp_path / "run")]) == 2
