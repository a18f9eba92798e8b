"""Backbones are recognised by their layers, whatever the Keras version called them."""

from __future__ import annotations

import copy

import pytest

from brain_diffusion_jax.conversion.keras_convert import convert
from tests.conversion import keras_writer as writer


@pytest.fixture(scope="module")
def vgg():
    return writer.parts_of("vgg16")


@pytest.mark.parametrize("anonymous", [False, True])
def test_old_resnet_names_and_trainable_first_order(anonymous, tmp_path):
    network, variables = writer.network_of("resnet50", norm_eps=1e-3)
    inner = writer.layers_of(network, variables, lambda name, kind: writer.old_resnet_name(name))
    file = writer.write(tmp_path / "r.h5", inner, writer.head_of(network, variables), anonymous=anonymous)
    converted = convert(file)
    writer.assert_same(converted.variables, variables)
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
    writer.assert_same(converted.variables, variables)
    assert converted.age_model["backbone_options"] == {"residual_scales": (0.17, 0.1, 0.2, 1.0)}


def test_another_architecture_is_named(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    extra = [copy.deepcopy(inner[4]) | {"name": f"block6_conv{i}"} for i in range(3)]
    for layer in extra:
        layer["config"]["name"] = layer["name"]
    message = writer.refused(writer.write(tmp_path / "m.h5", [*inner, *extra], top))
    assert "16 convolutions" in message
    assert "vgg16 13" in message
    depthwise = [*inner, writer.item("DepthwiseConv2D", "dw", {"kernel_size": [3, 3]}, ["block1_conv1"])]
    assert "DepthwiseConv2D" in writer.refused(writer.write(tmp_path / "d.h5", depthwise, top))
    wide = copy.deepcopy(inner)
    wide[1]["config"]["strides"] = [2, 2]
    assert "block1_conv1 (Conv2D): strides (2, 2); expected (1, 1)" in writer.refused(
        writer.write(tmp_path / "s.h5", wide, top)
    )
    no_age = copy.deepcopy(top)
    no_age[-1]["config"]["units"] = 10
    assert "the last must have 1" in writer.refused(writer.write(tmp_path / "u.h5", inner, no_age))


def test_a_lambda_is_never_run(vgg, tmp_path):
    _, inner, top = copy.deepcopy(vgg)
    code = {"function": [writer.POISON, None, None], "function_type": "lambda", "arguments": {}}
    message = writer.refused(writer.write(tmp_path / "m.h5", [*inner, writer.item("Lambda", "trick", code)], top))
    assert "trick" in message
    assert "never executed" in message
