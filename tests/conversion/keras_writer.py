"""Keras files of every layout, written with h5py alone from one of our networks: no Keras needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import h5py
import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.conversion.keras_backbones import BACKBONES, trace
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
    """Keras layer items, each with its "weights" {kind: array}, in the order of creation."""
    backbone = network.trunk.__class__.__name__.lower()
    published = next(b for b in BACKBONES if b.backbone.replace("_", "") == backbone)
    items: list[dict[str, Any]] = [item("InputLayer", "input_1", {"batch_input_shape": [None, 96, 128, 3]})]
    pools = [
        {"pool_size": [size, size], "strides": [step, step], "padding": padding, "kind": kind}
        for (kind, size, step, padding), count in published.pools.items()
        for _ in range(count)
    ]
    for layer in trace(network):
        name, path = layer.path[-1], layer.path
        stored = {k: _get(v, path) for k, v in variables.items()}
        if isinstance(layer.module, nn.Conv):
            m = layer.module
            explicit = not isinstance(m.padding, str)
            if explicit:
                pad = f"{name}_pad"
                items.append(item("ZeroPadding2D", pad, {"padding": [list(p) for p in m.padding]}, [items[-1]["name"]]))
            config = {
                "filters": m.features,
                "kernel_size": list(m.kernel_size),
                "strides": list(m.strides or (1, 1)),
                "padding": "valid" if explicit else m.padding.lower(),
                "use_bias": m.use_bias,
                "activation": "relu" if backbone == "vgg16" else "linear",
                "dilation_rate": [1, 1],
                "data_format": "channels_last",
            }
            items.append(item("Conv2D", rename(name, "conv2d"), config, [items[-1]["name"]], _pick(stored, "params")))
        elif isinstance(layer.module, nn.BatchNorm):
            config = {"axis": 3, "epsilon": layer.module.epsilon, "scale": layer.module.use_scale, "center": True}
            weights = {
                "gamma": stored["params"].get("scale"),
                "beta": stored["params"]["bias"],
                "moving_mean": stored["batch_stats"]["mean"],
                "moving_variance": stored["batch_stats"]["var"],
            }
            weights = {k: v for k, v in weights.items() if v is not None}
            items.append(
                item("BatchNormalization", rename(name, "batch_normalization"), config, [items[-1]["name"]], weights)
            )
    if backbone == "resnet50":
        items.append(item("ZeroPadding2D", "pool1_pad", {"padding": [[1, 1], [1, 1]]}, ["conv1"]))
    for number, pool in enumerate(pools):
        before = "pool1_pad" if backbone == "resnet50" else items[1]["name"]
        kind = pool.pop("kind")
        items.append(item(kind, f"pool_{number}", pool, [before]))
    joins = published.joins
    if backbone == "inceptionresnetv2":
        joins -= 40
        for kind, count, scale in (("block35", 10, 0.17), ("block17", 20, 0.1), ("block8", 10, 0.2)):
            for block in range(1, count + 1):
                value = 1.0 if (kind, block) == ("block8", 10) else scale
                config = {"function": [POISON, None, None], "function_type": "lambda", "arguments": {"scale": value}}
                items.append(item("Lambda", f"{kind}_{block}", config, ["conv_7b"]))
    items += [item("Add", f"add_{i}", {}, [items[1]["name"]]) for i in range(joins)]
    return items


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


def _pick(stored: dict[str, Any], collection: str) -> dict[str, Any]:
    return {k: stored[collection][k] for k in ("kernel", "bias") if k in stored[collection]}


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
) -> Path:
    """Write a file. nested: the backbone in one group, trainable weights first; else a group a layer."""
    flat = [*inner, *top]
    if nested:
        base = {
            "class_name": class_name,
            "config": {"name": "base", "layers": [_without_weights(layer) for layer in inner]},
        }
        outer = [base, *[_without_weights(layer) for layer in top]]
        config = {"class_name": "Sequential", "config": outer if bare_list else {"name": "s", "layers": outer}}
        groups = {"base": inner, **{layer["name"]: [layer] for layer in top}}
    else:
        chained = list(flat)
        for before, layer in zip(flat[len(inner) - 1 :], flat[len(inner) :], strict=False):
            layer["inbound_nodes"] = [[[before["name"], 0, 0, {}]]]
        config = {
            "class_name": class_name,
            "config": {"name": "m", "layers": [_without_weights(layer) for layer in chained]},
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
