"""Keras files of every layout give the same weights; what is no such file is refused with a list."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile

import h5py
import jax
import numpy as np
import pytest

from brain_diffusion_jax.cli.main import main
from brain_diffusion_jax.conversion import keras_convert, keras_files
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
    output = inner[-1]["name"]
    inner = [inner[0], *sorted(inner[1:], key=lambda layer: layer["name"][::-1])]
    file = writer.write(tmp_path / "i.h5", inner, writer.head_of(network, variables), anonymous=True, output=output)
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


@pytest.fixture(scope="module")
def resnet():
    network, variables = writer.network_of("resnet50")
    return variables, writer.layers_of(network, variables), writer.head_of(network, variables)


def activation(name: str, **config) -> dict:
    return writer.item("ReLU" if "max_value" in config else "Activation", name, config)


def changed(items: list[dict], name: str, **config) -> None:
    next(x for x in items if x["name"] == name)["config"].update(config)


def sigmoid_age(inner, top):
    top.append(activation("age_sigmoid", activation="sigmoid"))


def positive_age(inner, top):
    top.append(activation("age_relu", activation="relu"))


def capped_hidden(inner, top):
    changed(top, "dense_1", activation="linear")
    top.insert(2, activation("cap", max_value=1.0))


def linear_hidden(inner, top):
    changed(top, "dense_1", activation="linear")


def after_pooling(inner, top):
    top.insert(1, activation("pooled_tanh", activation="tanh"))


def keras3_activation(inner, top):
    changed(top, "dense_1", activation={"class_name": "function", "config": "relu6"})


def elu_inside(inner, top):
    changed(inner, "block3_conv2", activation="elu")


def wide_pool(inner, top):
    changed(inner, next(x["name"] for x in inner if x["class_name"] == "MaxPooling2D"), pool_size=[2, 3])


def same_pool(inner, top):
    changed(inner, next(x["name"] for x in inner if x["class_name"] == "MaxPooling2D"), padding="same")


def dropped_pool(inner, top):
    pool = next(x for x in inner if x["class_name"] == "MaxPooling2D")
    pool.update(class_name="Dropout", config={"rate": 0.5})


def skipped_layer(inner, top):
    conv = next(x for x in inner if x["name"] == "block1_conv2")
    conv["inbound_nodes"] = [[["input_1", 0, 0, {}]]]


def used_twice(inner, top):
    conv = next(x for x in inner if x["name"] == "block5_conv3")
    conv["inbound_nodes"] *= 2


def always_training(inner, top):
    conv = next(x for x in inner if x["name"] == "block5_conv3")
    conv["inbound_nodes"][0][0][3]["training"] = True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (sigmoid_age, "age_sigmoid (Activation): activation sigmoid"),
        (positive_age, "output: age_relu of dense_2"),
        (capped_hidden, "cap (ReLU): {'max_value': 1.0}"),
        (linear_hidden, "dense_2 (Dense): reads dropout_1 of dense_1 linear"),
        (after_pooling, "pooled_tanh (Activation): activation tanh"),
        (keras3_activation, "relu6"),
        (elu_inside, "block3_conv2 (Conv2D): activation elu"),
        (wide_pool, "block2_conv1 (Conv2D): reads pool_"),
        (same_pool, "block2_conv1 (Conv2D): reads pool_"),
        (dropped_pool, "block2_conv1 (Conv2D): reads pool_"),
        (skipped_layer, "block1_conv2"),
        (used_twice, "block5_conv3 is used 2 times"),
        (always_training, "block5_conv3 is called with True"),
    ],
)
def test_a_layer_that_is_not_understood_exactly_is_refused_by_name(change, words, vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    change(inner, top)
    assert words in refused(writer.write(tmp_path / "m.h5", inner, top))


def elu_everywhere(items):
    for layer in items:
        if layer["class_name"] == "Activation":
            layer["config"]["activation"] = "elu"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda items: changed(items, "pool1_pad", padding=[[0, 1], [0, 1]]), "of pool1_pad of activation_"),
        (elu_everywhere, "(Activation): activation elu"),
        (lambda items: changed(items, items[-2]["name"], trainable=False), None),
        (lambda items: items[-2].update(class_name="Concatenate"), "conv5_block3"),
    ],
)
def test_another_padding_activation_or_branch_of_resnet_is_named(change, words, resnet, tmp_path):
    variables, inner, top = copy.deepcopy(resnet)
    change(inner)
    file = writer.write(tmp_path / "r.h5", inner, top)
    if words is None:
        assert_same(convert(file).variables, variables)
    else:
        assert words in refused(file)


def test_activations_of_their_own_are_converted_where_that_is_exact(vgg, tmp_path):
    variables, inner, top = copy.deepcopy(vgg)
    changed(inner, "block3_conv2", activation="linear")
    relu = activation("own_relu", activation="relu") | {"inbound_nodes": [[["block3_conv2", 0, 0, {}]]]}
    next(x for x in inner if x["name"] == "block3_conv3")["inbound_nodes"] = [[["own_relu", 0, 0, {}]]]
    inner.insert(1, relu)
    changed(top, "dense_1", activation="linear")
    top.insert(2, activation("dense_relu", activation="relu"))
    top.append(activation("age_linear", activation="linear"))
    changed(top, top[0]["name"], keepdims=True)
    top.insert(1, writer.item("Flatten", "flatten", {}))
    assert_same(convert(writer.write(tmp_path / "m.h5", inner, top)).variables, variables)


@pytest.mark.parametrize("how", ["external storage", "virtual dataset", "ExternalLink", "SoftLink"])
def test_numbers_from_elsewhere_never_become_weights(how, vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    file = writer.write(tmp_path / "m.h5", inner, top)
    place = "model_weights/base/block1_conv1/kernel:0"
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["x"] = np.ones((3, 3, 3, 4), np.float32)
    (tmp_path / "secret.bin").write_bytes(bytes(3 * 3 * 3 * 4 * 4))
    with h5py.File(file, "r+") as opened:
        kernel = opened[place][...]
        del opened[place]
        if how == "external storage":
            storage = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
            opened.create_dataset(place, kernel.shape, np.float32, external=storage)
        elif how == "virtual dataset":
            layout = h5py.VirtualLayout(kernel.shape, np.float32)
            layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", kernel.shape, np.float32)
            opened.create_virtual_dataset(place, layout)
        else:
            opened["elsewhere"] = kernel
            link = h5py.SoftLink("/elsewhere") if how == "SoftLink" else h5py.ExternalLink("secret.h5", "/x")
            opened[place] = link
    assert how in refused(file)


def test_a_claim_of_gigabytes_is_refused_unread(tmp_path, monkeypatch):
    for member in ("config.json", "model.weights.h5"):
        with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("config.json", "model.weights.h5"):
                archive.writestr(name, bytes(40 << 20) if name == member else b"{}")
        assert f"{member}: found {40 << 20} bytes when unpacked" in refused(tmp_path / "bomb.keras")
    network, variables = writer.network_of("vgg16")
    inner = writer.layers_of(network, variables)
    file = writer.write(tmp_path / "m.h5", inner, writer.head_of(network, variables))
    with h5py.File(file, "r+") as opened:
        group = opened["model_weights/base/block1_conv1"]
        del group["bias:0"]
        group.create_dataset("bias:0", (1 << 40,), np.float32)  # of which no number is stored
    assert "block1_conv1/bias: shape (1099511627776,); expected (4,)" in refused(file)
    with h5py.File(file, "r+") as opened:
        group = opened["model_weights/base/block1_conv1"]
        del group["bias:0"]
        group.create_dataset("bias:0", (4,), np.float32)  # the right shape, and nothing stored
    monkeypatch.setattr(keras_convert, "_SPARE", 0)
    assert "block1_conv1/bias: 16 bytes, of which hardly any are stored" in refused(file)


@pytest.mark.parametrize(
    "config",
    [
        '{"class_name": "Sequential", "config": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"class_name": "Sequential", "config": {"layers": 3}}',
        '{"class_name": "Functional", "config": {"layers": [{"class_name": "Dense", "config": []}]}}',
        '{"class_name": "Functional", "config": {"layers": [], "output_layers": [["x", 0, 0]]}}',
        "[1]",
        "{",
    ],
)
def test_configs_of_any_form_are_refused_with_the_file_named(config, tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = config
        file.create_group("model_weights").attrs["layer_names"] = ["a"]
    assert str(tmp_path / "m.h5") in refused(tmp_path / "m.h5")


def test_a_stopped_conversion_leaves_nothing_that_blocks_the_next(vgg, tmp_path, monkeypatch, capsys):
    from brain_diffusion_jax.training.run_folder import checkpoints

    _, inner, top = copy.deepcopy(vgg)
    file, run = writer.write(tmp_path / "m.h5", inner, top), tmp_path / "run"
    command = ["convert", "keras", str(file), "--out", str(run)]

    def stopped(folder, *args, **kwargs):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_run", stopped)
        assert main(command) == 130
    assert [p.name for p in tmp_path.iterdir()] == ["m.h5"]
    killed = tmp_path / ".run.0123456789ab.part"  # what SIGKILL leaves
    killed.mkdir()
    (killed / "config.json").write_text("{}")
    assert main(command) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"m.h5", "run"}
    assert main(["info", str(run)]) == 0
    shutil.rmtree(run / "checkpoints")  # as release 0.1 left it
    capsys.readouterr()
    assert main(["info", str(run)]) == 2
    assert "convert again" in capsys.readouterr().err
