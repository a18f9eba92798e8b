"""Which backbone a Keras model is, and what its layers are called here. Whether it is wired alike: `keras_wiring`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from brain_diffusion_jax.conversion import keras_wiring
from brain_diffusion_jax.conversion.keras_config import KerasLayer
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork, make_age_network

_CONVOLUTIONS = ("Conv2D", "Convolution2D")


@dataclass(frozen=True)
class Published:
    """A backbone of keras.applications. first: channels of its first convolution at width 1; rename: a layer's old
    Keras name -> its name here.
    """

    backbone: str
    convolutions: int
    first: int
    rename: Callable[[str], str] = lambda name: name


def _resnet_name(name: str) -> str:
    """res2a_branch2b -> conv2_block1_2_conv (Keras 2.2 -> Keras 2.3 and later)."""
    stem = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn"}
    match = re.fullmatch(r"(res|bn)(\d)([a-z])_branch(1|2[abc])", name)
    if match is None:
        return stem.get(name, name)
    kind, stage, block, branch = match.groups()
    part = 0 if branch == "1" else "abc".index(branch[1]) + 1
    return f"conv{stage}_block{ord(block) - ord('a') + 1}_{part}_{'conv' if kind == 'res' else 'bn'}"


BACKBONES = (
    Published("vgg16", 13, 64),
    Published("resnet50", 53, 64, _resnet_name),
    Published("densenet169", 168, 64, lambda name: name.replace("conv1/", "conv1_")),
    Published("inception_resnet_v2", 244, 32),
)


@dataclass
class Recipe:
    """What the file's config declares. age_model: config section; layers: Keras layer -> path here."""

    age_model: dict[str, Any]
    layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TracedLayer:
    """A parametrised layer of our network, in the order of its calls."""

    path: tuple[str, ...]
    module: nn.Module
    inputs: tuple[int, ...]


def trace(network: AgeNetwork, size: int = 96) -> list[TracedLayer]:
    """Every convolution, normalisation and dense layer in call order; nothing is computed."""
    traced: list[TracedLayer] = []

    def note(call, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv | nn.BatchNorm | nn.Dense):
            traced.append(TracedLayer(context.module.path, context.module, args[0].shape))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return traced


def recognise(layers: Sequence[KerasLayer], output: int) -> Recipe:
    """The backbone, the head and the place of every layer; `problems` lists what does not fit.

    output: position of the layer whose output is the model's.
    """
    convolutions = [layer for layer in layers if layer.kind in _CONVOLUTIONS]
    unknown = Counter(x.kind for x in layers if not x.weight_kinds and x.kind not in keras_wiring.UNDERSTOOD)
    problems = [f"{kind}: {count} layer(s) of a class that no known backbone has" for kind, count in unknown.items()]
    published = next((b for b in BACKBONES if b.convolutions == len(convolutions)), None)
    if published is None:
        known = ", ".join(f"{b.backbone} {b.convolutions}" for b in BACKBONES)
        problems.insert(0, f"backbone: {len(convolutions)} convolutions; known are {known}")
        return Recipe({}, {}, problems)
    numbered = sorted((x for x in convolutions if re.fullmatch(r"conv2d(_\d+)?", x.name)), key=_number)
    width = (numbered or convolutions)[0].config["filters"] / published.first
    recipe = Recipe({"backbone": published.backbone, "width": width}, {}, problems)
    _read_options(recipe, published, layers)
    _read_head(recipe, layers)
    if not recipe.problems:
        _match(recipe, published, layers)
    if not recipe.problems:
        recipe.problems += keras_wiring.differences(layers, output, recipe.layers, recipe.age_model)
    return recipe


def _read_options(recipe: Recipe, published: Published, layers: Sequence[KerasLayer]) -> None:
    """Epsilon, padding, scales: what differs between versions of one backbone. `keras_wiring` has the last word."""
    problems, section = recipe.problems, recipe.age_model
    epsilons = {float(x.config.get("epsilon", 1e-3)) for x in layers if x.kind.startswith("BatchNormalization")}
    if len(epsilons) > 1:
        problems.append(f"BatchNormalization: several epsilons {sorted(epsilons)}; one expected")
    section["norm_eps"] = epsilons.pop() if epsilons else 1e-3
    options: dict[str, Any] = {}
    if published.backbone == "resnet50":
        pooled = [layers[i].kind for x in layers if x.kind == "MaxPooling2D" for i in x.inputs]
        options["pool_padding"] = "ZeroPadding2D" in pooled
    if published.backbone == "densenet169":
        last = [i for i, layer in enumerate(layers) if layer.kind.startswith("BatchNormalization")][-1]
        options["final_relu"] = any(last in x.inputs and x.kind in ("Activation", "ReLU") for x in layers)
    scaled = [x for x in layers if x.kind in keras_wiring.SCALES]
    if published.backbone == "inception_resnet_v2":
        options["residual_scales"] = _residual_scales(scaled, problems)
    elif scaled:
        names = ", ".join(x.name for x in scaled[:3])
        problems.append(f"Lambda: {names} hold Python code, which is never executed")
    section["backbone_options"] = options


def _number(layer: KerasLayer) -> int:
    """The number Keras gave a layer without a name: 17 of conv2d_17, 0 of conv2d."""
    match = re.fullmatch(r".*?_(\d+)", layer.name)
    return int(match.group(1)) if match else 0


def _residual_scales(layers: Sequence[KerasLayer], problems: list[str]) -> tuple[float, ...]:
    """Scales of blocks 35, 17, 8 and the last block 8 of InceptionResNetV2."""
    named = {layer.name: layer for layer in layers}
    names = [
        f"{kind}_{i}" for kind, count in (("block35", 10), ("block17", 20), ("block8", 10)) for i in range(1, count + 1)
    ]
    ordered = [named[n] for n in names] if set(names) <= set(named) else sorted(layers, key=_number)
    scales = [keras_wiring.scale_of(layer) for layer in ordered]
    unread = [layer.name for layer, scale in zip(ordered, scales) if scale is None]
    if unread:
        problems.append(
            f"Lambda: {', '.join(unread[:3])} hold Python code and no argument 'scale'; code is never executed"
        )
        return ()
    groups = [set(scales[:10]), set(scales[10:30]), set(scales[30:39]), set(scales[39:40])]
    if len(scales) != 40 or any(len(g) != 1 for g in groups):
        problems.append(
            f"residual scales: {len(scales)} of values {sorted({s for s in scales if s})}, expected 10 + 20 + 10"
        )
        return ()
    return tuple(float(g.pop()) for g in groups if g)  # type: ignore[arg-type]


def _read_head(recipe: Recipe, layers: Sequence[KerasLayer]) -> None:
    problems, section = recipe.problems, recipe.age_model
    pools = [layer.kind for layer in layers if layer.kind.startswith("Global")]
    if len(pools) != 1:
        problems.append(
            f"head: {pools or 'no global pooling'}; one GlobalAveragePooling2D or GlobalMaxPooling2D expected"
        )
    section["pooling"] = "max" if pools == ["GlobalMaxPooling2D"] else "avg"
    dense = [layer for layer in layers if layer.kind == "Dense"]
    if not dense or dense[-1].config["units"] != 1:
        found = [layer.config["units"] for layer in dense]
        problems.append(f"head: Dense layers of {found or 'no'} units; the last must have 1 (age)")
        return
    problems += [
        f"{x.name}: no bias; Dense layers with bias expected" for x in dense if not x.config.get("use_bias", True)
    ]
    section["dense"] = tuple(int(layer.config["units"]) for layer in dense[:-1])
    rates = [float(x.config.get("rate", x.config.get("p", 0.0))) for x in layers if x.kind == "Dropout"]
    section["dropout"] = rates[-1] if rates else 0.0


def _match(recipe: Recipe, published: Published, layers: Sequence[KerasLayer]) -> None:
    """Fill recipe.layers: named layers by name, layers Keras numbered by their number, each checked."""
    traced = trace(make_age_network(**recipe.age_model))
    free = {layer.path[-1]: layer for layer in traced if layer.path[0] == "trunk"}
    unmatched: list[KerasLayer] = []
    pairs: list[tuple[KerasLayer, TracedLayer]] = []
    for layer in layers:
        if not layer.weight_kinds or layer.kind == "Dense":
            continue
        ours = free.pop(published.rename(layer.name), None)
        if ours is not None:
            pairs.append((layer, ours))
        else:
            unmatched.append(layer)
    for kind, ours_kind in (("conv2d", nn.Conv), ("batch_normalization", nn.BatchNorm)):
        theirs = sorted((x for x in unmatched if re.fullmatch(rf"{kind}(_v1)?(_\d+)?", x.name)), key=_number)
        left = [x for x in free.values() if isinstance(x.module, ours_kind)]
        if len(theirs) == len(left):
            pairs += list(zip(theirs, left))
            unmatched = [x for x in unmatched if x not in theirs]
            free = {k: v for k, v in free.items() if v not in left}
    recipe.problems += [f"{x.name} ({x.kind}): no such layer in {published.backbone}" for x in unmatched]
    recipe.problems += [f"{name}: in {published.backbone}, not in the file" for name in free]
    heads = [x for x in traced if isinstance(x.module, nn.Dense)]
    pairs += list(zip((x for x in layers if x.kind == "Dense"), heads))
    for theirs_layer, ours in pairs:
        recipe.problems += _differences(theirs_layer, ours)
        recipe.layers[theirs_layer.name] = ours.path


def _differences(theirs: KerasLayer, ours: TracedLayer) -> list[str]:
    """What in the config of a layer contradicts the layer it is matched with."""
    c, module, where = theirs.config, ours.module, f"{theirs.name} ({theirs.kind})"
    if isinstance(module, nn.Dense):
        return []
    if isinstance(module, nn.BatchNorm):
        found = (c.get("scale", True), c.get("center", True), c.get("axis", -1))
        axis = found[2][0] if isinstance(found[2], list | tuple) else found[2]
        right = found[:2] == (module.use_scale, module.use_bias) and axis in (3, -1)
        return [] if right else [f"{where}: scale, center, axis {found}; expected {(module.use_scale, True, 3)}"]
    assert isinstance(module, nn.Conv)
    kernel = tuple(module.kernel_size)  # type: ignore[arg-type]
    strides = module.strides if isinstance(module.strides, tuple) else (module.strides, module.strides)
    checks = {
        "filters": (c["filters"], module.features),
        "kernel_size": (tuple(c["kernel_size"]), kernel),
        "strides": (tuple(c.get("strides", (1, 1))), tuple(strides or (1, 1))),
        "use_bias": (c.get("use_bias", True), module.use_bias),
        "dilation_rate": (tuple(c.get("dilation_rate", (1, 1))), (1, 1)),
        "groups": (c.get("groups", 1), 1),
        "data_format": (c.get("data_format", "channels_last") or "channels_last", "channels_last"),
    }
    if math.prod(kernel) > 1:
        wanted = module.padding.lower() if isinstance(module.padding, str) else "valid"
        checks["padding"] = (str(c.get("padding", "valid")).lower(), wanted)
    return [f"{where}: {name} {a}; expected {b}" for name, (a, b) in checks.items() if a != b]
