"""Keras files of every layout, written with h5py alone from one of our networks: no Keras needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.conversion.keras_backbones import trace
from brain_diffusion_jax.conversion.keras_convert import convert
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.deep_brain_net import make_age_network

# Python bytecode that would leave a mark if anybody ran it.
POISON = "4wAAAAAAAAAAAAAAAAEAAAADAAAAQwAAAHMKAAAAdABkAYMBAQBkAlMA"


def network_of(backbone: str, width: float = 0.0625, **settings: Any):
    """(network, numpy variables with random batch statistics)."""
    network = make_age_network(backbone=backbone, width=width, dense=(6,), dropout=0.8, **settings)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
    generator = np.random.default_rng(0)
    return network, jax.tree.map(lambda s: generator.random(s.shape, np.float32) * 0.4 + 0.1, shapes)


def old_resnet_name(name: str) -> str:
    """conv2_block1_2_conv -> res2a_branch2b: names of Keras 2.2."""
    stem = {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}
    match = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", name)
    if match is None:
        return stem[name]
    stage, block, part, kind = match.groups()
    branch = "1" if part == "0" else "2" + "abc"[int(part) - 1]
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{chr(ord('a') + int(block) - 1)}_branch{branch}"


def layers_of(network, variables, rename=lambda name, kind: name) -> list[dict[str, Any]]:
    """Keras layer items, each with its "weights" {kind: array}: those with weights in the order of creation, then
    the others; the last one gives the output."""
    traced = [layer for layer in trace(network) if layer.path[0] == "trunk"]
    graph = Graph(variables, {layer.path[-1]: layer for layer in traced}, rename)
    output = {"VGG16": _vgg, "ResNet50": _resnet, "DenseNet169": _densenet, "InceptionResNetV2": _inception}[
        network.trunk.__class__.__name__
    ](graph)
    graph.items[output] = graph.items.pop(output)
    weighted = [graph.items[graph.names[layer.path[-1]]] for layer in traced]
    others = [x for x in graph.items.values() if not x["weights"]]
    return [others[0], *weighted, *others[1:]]


class Graph:
    """Keras layers as they are called; every method returns the name of the layer it adds."""

    def __init__(self, variables, traced, rename):
        self.variables, self.traced, self.rename = variables, traced, rename
        self.names: dict[str, str] = {}
        self.items: dict[str, dict[str, Any]] = {}
        self.add("InputLayer", "input_1", {"batch_input_shape": [None, 96, 128, 3]}, [])

    def add(self, kind: str, name: str, config: dict, inputs: list[str], weights: dict | None = None) -> str:
        self.items[name] = item(kind, name, config, inputs, weights)
        return name

    def conv(self, x: str, name: str, activation: str = "linear") -> str:
        m, explicit = self.traced[name].module, not isinstance(self.traced[name].module.padding, str)
        if explicit:
            x = self.add("ZeroPadding2D", f"{name}_pad", {"padding": [list(p) for p in m.padding]}, [x])
        config = {
            "filters": m.features,
            "kernel_size": list(m.kernel_size),
            "strides": list(m.strides or (1, 1)),
            "padding": "valid" if explicit else m.padding.lower(),
            "use_bias": m.use_bias,
            "activation": activation,
            "dilation_rate": [1, 1],
            "data_format": "channels_last",
        }
        self.names[name] = self.rename(name, "conv2d")
        stored = _get(self.variables["params"], self.traced[name].path)
        return self.add("Conv2D", self.names[name], config, [x], stored)

    def norm(self, x: str, name: str) -> str:
        module, path = self.traced[name].module, self.traced[name].path
        config = {"axis": 3, "epsilon": module.epsilon, "scale": module.use_scale, "center": True}
        params, moving = _get(self.variables["params"], path), _get(self.variables["batch_stats"], path)
        weights = {"gamma": params["scale"]} if module.use_scale else {}
        weights |= {"beta": params["bias"], "moving_mean": moving["mean"], "moving_variance": moving["var"]}
        self.names[name] = self.rename(name, "batch_normalization")
        return self.add("BatchNormalization", self.names[name], config, [x], weights)

    def relu(self, x: str) -> str:
        return self.add("Activation", f"activation_{len(self.items)}", {"activation": "relu"}, [x])

    def pool(self, x: str, kind: str = "MaxPooling2D", size: int = 3, stride: int = 2, padding: str = "valid") -> str:
        config = {"pool_size": [size, size], "strides": [stride, stride], "padding": padding}
        return self.add(kind, f"pool_{len(self.items)}", config, [x])

    def join(self, kind: str, inputs: list[str], name: str = "", **config: Any) -> str:
        return self.add(kind, name or f"join_{len(self.items)}", config, inputs)

    def unit(self, x: str, *names: str) -> str:
        """Convolution, normalisation and ReLU, once for each name."""
        for name in names:
            x = self.relu(self.norm(self.conv(x, name), f"{name}_bn"))
        return x


def _vgg(g: Graph) -> str:
    x = "input_1"
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, convolutions + 1):
            x = g.conv(x, f"block{block}_conv{index}", "relu")
        x = g.pool(x, size=2)
    return x


def _resnet(g: Graph) -> str:
    x = g.relu(g.norm(g.conv("input_1", "conv1_conv"), "conv1_bn"))
    x = g.pool(g.add("ZeroPadding2D", "pool1_pad", {"padding": [[1, 1], [1, 1]]}, [x]))
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
        for block in range(1, blocks + 1):
            name = f"conv{stage}_block{block}"
            layer = lambda x, part: g.norm(g.conv(x, f"{name}_{part}_conv"), f"{name}_{part}_bn")  # noqa: B023, E731
            shortcut = layer(x, 0) if block == 1 else x
            x = g.relu(g.join("Add", [shortcut, layer(g.relu(layer(g.relu(layer(x, 1)), 2)), 3)]))
    return x


def _densenet(g: Graph) -> str:
    x = g.relu(g.norm(g.conv("input_1", "conv1_conv"), "conv1_bn"))
    x = g.pool(g.add("ZeroPadding2D", "pool1_pad", {"padding": [[1, 1], [1, 1]]}, [x]))
    for stage, layers in enumerate((6, 12, 32, 32), start=2):
        for block in range(1, layers + 1):
            name = f"conv{stage}_block{block}"
            y = g.conv(g.relu(g.norm(x, f"{name}_0_bn")), f"{name}_1_conv")
            y = g.conv(g.relu(g.norm(y, f"{name}_1_bn")), f"{name}_2_conv")
            x = g.join("Concatenate", [x, y], axis=3)
        if stage < 5:
            x = g.conv(g.relu(g.norm(x, f"pool{stage}_bn")), f"pool{stage}_conv")
            x = g.pool(x, "AveragePooling2D", 2)
    return g.relu(g.norm(x, "bn"))


def _inception(g: Graph) -> str:
    def branches(x: str, name: str, *parts: str, pool: bool = True) -> str:
        outputs = [g.unit(x, *(f"{name}_{p}" for p in part.split())) for part in parts]
        return g.join("Concatenate", [*outputs, *([g.pool(x)] if pool else [])], axis=3)

    x = g.pool(g.unit("input_1", "stem_1", "stem_2", "stem_3"))
    x = g.pool(g.unit(x, "stem_4", "stem_5"))
    outputs = [g.unit(x, *names.split()) for names in ("mixed_5b_0", "mixed_5b_1a mixed_5b_1b")]
    outputs.append(g.unit(x, "mixed_5b_2a", "mixed_5b_2b", "mixed_5b_2c"))
    outputs.append(g.unit(g.pool(x, "AveragePooling2D", 3, 1, "same"), "mixed_5b_pool"))
    x = g.join("Concatenate", outputs, axis=3)
    for kind, count, scale, parts in (
        ("block35", 10, 0.17, ("0a", "1a 1b", "2a 2b 2c")),
        ("block17", 20, 0.1, ("0a", "1a 1b 1c")),
        ("block8", 10, 0.2, ("0a", "1a 1b 1c")),
    ):
        for block in range(1, count + 1):
            name = f"{kind}_{block}"
            up = g.conv(branches(x, name, *parts, pool=False), f"{name}_conv")
            code = {"function": [POISON, None, None], "function_type": "lambda"}
            last = name == "block8_10"
            x = g.join("Lambda", [x, up], name, arguments={"scale": 1.0 if last else scale}, **code)
            x = x if last else g.relu(x)
        if kind == "block35":
            x = branches(x, "mixed_6a", "0", "1a 1b 1c")
        elif kind == "block17":
            x = branches(x, "mixed_7a", "0a 0b", "1a 1b", "2a 2b 2c")
    return g.unit(x, "conv_7b")


def head_of(network, variables) -> list[dict[str, Any]]:
    params = variables["params"]
    return [
        item("GlobalAveragePooling2D", "global_average_pooling2d_1", {}),
        item("Dense", "dense_1", {"units": 6, "activation": "relu", "use_bias": True}, None, params["dense0"]),
        item("Dropout", "dropout_1", {"rate": 0.8}),
        item("Dense", "dense_2", {"units": 1, "activation": "linear", "use_bias": True}, None, params["output"]),
    ]


def item(kind: str, name: str, config: dict, inputs: list[str] | None = None, weights: dict | None = None) -> dict:
    return {
        "class_name": kind,
        "name": name,
        "config": {"name": name, "trainable": True, **config},
        "inbound_nodes": [[[i, 0, 0, {}] for i in inputs]] if inputs else [],
        "weights": dict(weights or {}),
    }


def _get(tree: Any, path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        tree = tree.get(key, {})
    return tree


def _without_weights(layer: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in layer.items() if k != "weights"}


ORDER = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
MOVING = ("moving_mean", "moving_variance")


def write(
    path: Path,
    inner: list[dict[str, Any]],
    top: list[dict[str, Any]],
    *,
    nested: bool = True,
    class_name: str = "Model",
    bare_list: bool = False,
    suffix: str = ":0",
    weight_prefix: str = "",
    anonymous: bool = False,
    as_bytes: bool = False,
    chunk: int = 0,
    optimizer: bool = False,
    model_config: bool = True,
    output: str = "",
) -> Path:
    """Write a file. nested: the backbone in one group, trainable weights first; else a group a layer.

    output: the layer of `inner` that `top` reads, by default the last.
    """
    output = output or inner[-1]["name"]
    flat = [*inner, *top]
    if nested:
        base = {
            "class_name": class_name,
            "config": {
                "name": "base",
                "layers": [_without_weights(layer) for layer in inner],
                "output_layers": [[output, 0, 0]],
            },
        }
        outer = [base, *[_without_weights(layer) for layer in top]]
        config = {"class_name": "Sequential", "config": outer if bare_list else {"name": "s", "layers": outer}}
        groups = {"base": inner, **{layer["name"]: [layer] for layer in top}}
    else:
        chained = list(flat)
        for before, layer in zip([output, *(x["name"] for x in top)], top, strict=False):
            layer["inbound_nodes"] = [[[before, 0, 0, {}]]]
        config = {
            "class_name": class_name,
            "config": {
                "name": "m",
                "layers": [_without_weights(layer) for layer in chained],
                "output_layers": [[top[-1]["name"], 0, 0]],
            },
        }
        groups = {layer["name"]: [layer] for layer in flat}
    with h5py.File(path, "w") as file:
        if model_config:
            text = json.dumps(config)
            file.attrs["model_config"] = np.bytes_(text.encode()) if as_bytes else text
        root = file.create_group("model_weights") if model_config else file
        _attribute(root, "layer_names", list(groups), as_bytes, chunk)
        root.attrs["keras_version"] = np.bytes_(b"2.2.4") if as_bytes else "2.2.4"
        for name, layers in groups.items():
            group = root.create_group(name)
            ordered = [(layer, k) for layer in layers for k in ORDER if k in layer["weights"] and k not in MOVING]
            ordered += [(layer, k) for layer in layers for k in MOVING if k in layer["weights"]]
            names = []
            for number, (layer, kind) in enumerate(ordered):
                owner = f"layer_{number}" if anonymous else f"{weight_prefix}{layer['name']}"
                names.append(f"{owner}/{kind}{suffix}")
                group.create_dataset(names[-1], data=layer["weights"][kind])
            _attribute(group, "weight_names", names, as_bytes, chunk)
        if optimizer:
            file.create_group("optimizer_weights").create_dataset("training/Adam/Variable:0", data=np.zeros(3))
    return path


def _attribute(group: Any, name: str, values: list[str], as_bytes: bool, chunk: int) -> None:
    data: Any = np.array([v.encode() for v in values], "S") if as_bytes else values
    if not chunk or len(values) <= chunk:
        group.attrs[name] = data
        return
    for number, first in enumerate(range(0, len(values), chunk)):
        group.attrs[f"{name}{number}"] = data[first : first + chunk]


def parts_of(backbone: str) -> tuple:
    """(variables, layers, head) of a small network with random weights, as `write` takes them."""
    network, variables = network_of(backbone)
    return variables, layers_of(network, variables), head_of(network, variables)


def assert_same(found, expected) -> None:
    """Trees of equal structure and equal numbers."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def refused(file) -> str:
    """The message with which `convert` refuses a file."""
    with pytest.raises(InputError) as caught:
        convert(file)
    return str(caught.value)
