"""Which backbone a Keras model is, what its layers are called here, and whether it is wired like ours."""

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

from brain_diffusion_jax.conversion.keras_files import KerasLayer
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork, make_age_network

# Layers that hold no weights and change nothing a converted model computes.
_SILENT = ("InputLayer", "Dropout", "SpatialDropout2D", "ActivityRegularization")
_CONVOLUTIONS = ("Conv2D", "Convolution2D")
_PASSIVE = ("ZeroPadding2D", "Activation", "ReLU", "Add", "Concatenate", "Lambda", "CustomScaleLayer")
_POOLS = ("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D")


@dataclass(frozen=True)
class Published:
    """How keras.applications builds a backbone. first: channels of its first convolution at width 1.

    pools: (class, size, stride, padding) of its poolings, in any order; joins: number of layers that
    add or concatenate branches. rename: a layer's old Keras name -> its name here.
    """

    backbone: str
    convolutions: int
    first: int
    pools: Counter[tuple[str, int, int, str]]
    joins: int
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
    Published("vgg16", 13, 64, Counter({("MaxPooling2D", 2, 2, "valid"): 5}), 0),
    Published("resnet50", 53, 64, Counter({("MaxPooling2D", 3, 2, "valid"): 1}), 16, _resnet_name),
    Published(
        "densenet169",
        168,
        64,
        Counter({("MaxPooling2D", 3, 2, "valid"): 1, ("AveragePooling2D", 2, 2, "valid"): 3}),
        82,
        lambda name: name.replace("conv1/", "conv1_"),
    ),
    Published(
        "inception_resnet_v2",
        244,
        32,
        Counter({("MaxPooling2D", 3, 2, "valid"): 4, ("AveragePooling2D", 3, 1, "same"): 1}),
        83,
    ),
)


@dataclass
class Recipe:
    """What the file's config says. age_model: config section; layers: Keras layer -> path here."""

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
    found: list[TracedLayer] = []

    def note(call, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv | nn.BatchNorm | nn.Dense):
            found.append(TracedLayer(context.module.path, context.module, args[0].shape))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return found


def recognise(layers: Sequence[KerasLayer]) -> Recipe:
    """The backbone, the head and the place of every layer; `problems` lists what does not fit."""
    convolutions = [layer for layer in layers if layer.kind in _CONVOLUTIONS]
    unknown = Counter(
        layer.kind for layer in layers if not layer.weight_kinds and layer.kind not in (*_SILENT, *_PASSIVE, *_POOLS)
    )
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
    return recipe


def _pool(layer: KerasLayer) -> tuple[str, int, int, str]:
    def one(value: Any) -> int:
        return int(value[0]) if isinstance(value, list | tuple) else int(value)

    size = one(layer.config.get("pool_size", 2))
    return layer.kind, size, one(layer.config.get("strides") or size), str(layer.config.get("padding", "valid"))


def _read_options(recipe: Recipe, published: Published, layers: Sequence[KerasLayer]) -> None:
    """Epsilon, poolings, joins, scales: whatever differs between versions of one backbone."""
    problems, section = recipe.problems, recipe.age_model
    epsilons = {float(x.config.get("epsilon", 1e-3)) for x in layers if x.kind.startswith("BatchNormalization")}
    if len(epsilons) > 1:
        problems.append(f"BatchNormalization: several epsilons {sorted(epsilons)}; one expected")
    section["norm_eps"] = epsilons.pop() if epsilons else 1e-3
    pools = Counter(_pool(x) for x in layers if x.kind in ("MaxPooling2D", "AveragePooling2D"))
    if pools != published.pools:
        extra, missing = pools - published.pools, published.pools - pools
        problems.append(f"pooling: also {dict(extra)}, without {dict(missing)} of {published.backbone}")
    joins = sum(x.kind in ("Add", "Concatenate", "Lambda", "CustomScaleLayer") for x in layers)
    if joins != published.joins:
        problems.append(f"branches: {joins} additions and concatenations, {published.backbone} has {published.joins}")
    options: dict[str, Any] = {}
    padded = {layer.name: layer for layer in layers if layer.kind == "ZeroPadding2D"}
    if published.backbone == "resnet50":
        options["pool_padding"] = any(
            set(x.inputs) & set(padded) and _padding(padded[x.inputs[0]]) == 1
            for x in layers
            if x.kind == "MaxPooling2D"
        )
    if published.backbone == "densenet169":
        last = [layer.name for layer in layers if layer.kind.startswith("BatchNormalization")][-1]
        options["final_relu"] = any(last in x.inputs and _is_relu(x) for x in layers)
    if published.backbone == "inception_resnet_v2":
        options["residual_scales"] = _residual_scales(layers, problems)
    elif any(x.kind in ("Lambda", "CustomScaleLayer") for x in layers):
        names = [x.name for x in layers if x.kind in ("Lambda", "CustomScaleLayer")]
        problems.append(f"Lambda: {', '.join(names[:3])} hold Python code, which is never executed")
    section["backbone_options"] = options


def _padding(layer: KerasLayer) -> int | None:
    """n where a ZeroPadding2D pads n on every side, else None."""
    flat = {int(v) for side in layer.config["padding"] for v in (side if isinstance(side, list | tuple) else [side])}
    return flat.pop() if len(flat) == 1 else None


def _is_relu(layer: KerasLayer) -> bool:
    if layer.kind == "ReLU":
        return layer.config.get("max_value") is None and not layer.config.get("negative_slope")
    return layer.kind == "Activation" and layer.config.get("activation") == "relu"


def _scale_of(layer: KerasLayer) -> float | None:
    """The factor of a residual branch, from the config alone."""
    arguments = layer.config.get("arguments") if layer.kind == "Lambda" else layer.config
    value = (arguments or {}).get("scale")
    return float(value) if isinstance(value, int | float) else None


def _number(layer: KerasLayer) -> int:
    """The number Keras gave a layer without a name: 17 of conv2d_17, 0 of conv2d."""
    match = re.fullmatch(r".*?_(\d+)", layer.name)
    return int(match.group(1)) if match else 0


def _residual_scales(layers: Sequence[KerasLayer], problems: list[str]) -> tuple[float, ...]:
    """Scales of blocks 35, 17, 8 and the last block 8 of InceptionResNetV2."""
    found = [layer for layer in layers if layer.kind in ("Lambda", "CustomScaleLayer")]
    named = {layer.name: layer for layer in found}
    names = [
        f"{kind}_{i}" for kind, count in (("block35", 10), ("block17", 20), ("block8", 10)) for i in range(1, count + 1)
    ]
    ordered = [named[n] for n in names] if set(names) <= set(named) else sorted(found, key=_number)
    scales = [_scale_of(layer) for layer in ordered]
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
    for layer in dense:
        wanted = "linear" if layer is dense[-1] else "relu"
        if layer.config.get("activation", "linear") != wanted or not layer.config.get("use_bias", True):
            problems.append(
                f"{layer.name}: activation {layer.config.get('activation')}, bias "
                f"{layer.config.get('use_bias', True)}; {wanted} with bias expected"
            )
    section["dense"] = tuple(int(layer.config["units"]) for layer in dense[:-1])
    rates = [float(x.config.get("rate", x.config.get("p", 0.0))) for x in layers if x.kind == "Dropout"]
    section["dropout"] = rates[-1] if rates else 0.0


def _match(recipe: Recipe, published: Published, layers: Sequence[KerasLayer]) -> None:
    """Fill recipe.layers: named layers by name, layers Keras numbered by their number, each checked."""
    traced = trace(make_age_network(**recipe.age_model))
    free = {layer.path[-1]: layer for layer in traced if layer.path[0] == "trunk"}
    inputs = {layer.name: layer for layer in layers}
    unnamed: list[KerasLayer] = []
    pairs: list[tuple[KerasLayer, TracedLayer]] = []
    for layer in layers:
        if not layer.weight_kinds or layer.kind == "Dense":
            continue
        ours = free.pop(published.rename(layer.name), None)
        if ours is not None:
            pairs.append((layer, ours))
        else:
            unnamed.append(layer)
    for kind, ours_kind in (("conv2d", nn.Conv), ("batch_normalization", nn.BatchNorm)):
        theirs = sorted((x for x in unnamed if re.fullmatch(rf"{kind}(_v1)?(_\d+)?", x.name)), key=_number)
        left = [x for x in free.values() if isinstance(x.module, ours_kind)]
        if len(theirs) == len(left):
            pairs += list(zip(theirs, left))
            unnamed = [x for x in unnamed if x not in theirs]
            free = {k: v for k, v in free.items() if v not in left}
    recipe.problems += [f"{x.name} ({x.kind}): no such layer in {published.backbone}" for x in unnamed]
    recipe.problems += [f"{name}: in {published.backbone}, not in the file" for name in free]
    heads = [x for x in traced if isinstance(x.module, nn.Dense)]
    pairs += list(zip((x for x in layers if x.kind == "Dense"), heads))
    for theirs_layer, ours in pairs:
        recipe.problems += _differences(theirs_layer, ours, inputs)
        recipe.layers[theirs_layer.name] = ours.path


def _differences(theirs: KerasLayer, ours: TracedLayer, inputs: dict[str, KerasLayer]) -> list[str]:
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
    activation = "relu" if re.fullmatch(r"block\d_conv\d", ours.path[-1]) else "linear"
    kernel = tuple(module.kernel_size)  # type: ignore[arg-type]
    strides = module.strides if isinstance(module.strides, tuple) else (module.strides, module.strides)
    checks = {
        "filters": (c["filters"], module.features),
        "kernel_size": (tuple(c["kernel_size"]), kernel),
        "strides": (tuple(c.get("strides", (1, 1))), tuple(strides or (1, 1))),
        "use_bias": (c.get("use_bias", True), module.use_bias),
        "dilation_rate": (tuple(c.get("dilation_rate", (1, 1))), (1, 1)),
        "groups": (c.get("groups", 1), 1),
        "activation": (c.get("activation", "linear"), activation),
        "data_format": (c.get("data_format", "channels_last") or "channels_last", "channels_last"),
    }
    if math.prod(kernel) > 1:
        explicit = not isinstance(module.padding, str)
        before = inputs.get(theirs.inputs[0]) if theirs.inputs else None
        pads = _padding(before) if before is not None and before.kind == "ZeroPadding2D" else 0
        wanted = module.padding[0][0] if explicit else 0  # type: ignore[index]
        checks["padding"] = (
            (str(c.get("padding", "valid")).lower(), pads),
            ("valid" if explicit else str(module.padding).lower(), wanted),
        )
    return [f"{where}: {name} {a}; expected {b}" for name, (a, b) in checks.items() if a != b]
