"""A Keras model that is wired otherwise than ours is refused by the layer."""

from __future__ import annotations

import copy

import pytest

from brain_diffusion_jax.conversion.keras_convert import convert
from tests.conversion import keras_writer as writer


@pytest.fixture(scope="module")
def vgg():
    return writer.parts_of("vgg16")


@pytest.fixture(scope="module")
def resnet():
    return writer.parts_of("resnet50")


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
    assert words in writer.refused(writer.write(tmp_path / "m.h5", inner, top))


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
        writer.assert_same(convert(file).variables, variables)
    else:
        assert words in writer.refused(file)


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
    writer.assert_same(convert(writer.write(tmp_path / "m.h5", inner, top)).variables, variables)
