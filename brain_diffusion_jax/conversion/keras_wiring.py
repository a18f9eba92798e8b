"""Whether a Keras model is wired like ours: every layer must have exactly the input of its counterpart here.

Each layer with weights gives a fixed random array in place of its output, in the file's graph and in our network
alike; the operations between (activations, padding, poolings, sums, scales) are computed. A layer whose input then
differs is wired differently, and no difference hides another. An operation that is not understood exactly is reported.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.conversion.keras_config import KerasLayer
from brain_diffusion_jax.models.deep_brain_net import BACKBONES

SCALES = ("Lambda", "CustomScaleLayer")  # x + scale * branch of InceptionResNetV2
_IDENTITIES = ("InputLayer", "Dropout", "SpatialDropout2D", "ActivityRegularization")  # in inference
_POOLS: dict[str, Any] = {"MaxPooling2D": np.nanmax, "AveragePooling2D": np.nanmean}
_GLOBAL_POOLS: dict[str, Any] = {"GlobalMaxPooling2D": np.max, "GlobalAveragePooling2D": np.mean}
_JOINS = ("Add", "Concatenate", *SCALES)
_PLAIN = ("Activation", "ReLU", "ZeroPadding2D", "Flatten")
UNDERSTOOD = (*_IDENTITIES, *_POOLS, *_GLOBAL_POOLS, *_JOINS, *_PLAIN)
_SIZE, _WIDTH = (107, 96), 1 / 32  # wiring is the same at every width


class _NotUnderstood(Exception):
    """Found and expected, for a message."""


def _stand_in(name: str, shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Wiring:
    """The wiring of our network. reads, gives: input of each layer, and the array in place of its output, by name.

    result: the network's output.
    """

    reads: Mapping[str, np.ndarray]
    gives: Mapping[str, np.ndarray]
    result: np.ndarray


@cache
def backbone_wiring(backbone: str, options: tuple[tuple[str, Any], ...]) -> Wiring:
    """Wiring of a backbone of ours; explicit padding of a convolution belongs to its input, as in Keras."""
    shapes: dict[str, tuple[int, ...]] = {}
    network = BACKBONES[backbone](width=_WIDTH, **dict(options))

    def run(gives: Mapping[str, Any], image: Any) -> tuple[dict[str, Any], Any]:
        reads: dict[str, Any] = {}

        def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if context.method_name != "__call__" or not isinstance(context.module, nn.Conv | nn.BatchNorm):
                return call(*args, **kwargs)
            name = context.module.path[-1]
            reads[name], shapes[name] = _read_and_given(context.module, args[0])
            return gives[name] if gives else jnp.zeros(shapes[name])

        with nn.intercept_methods(note):
            return reads, network.apply({}, image)

    image = _stand_in("", (1, *_SIZE, 3))
    jax.eval_shape(run, {}, image)
    gives = {name: _stand_in(name, shape) for name, shape in shapes.items()}
    # One program: hundreds of small ones would take long to compile, as would an optimised one.
    quickly: Any = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    program = jax.jit(run).lower(gives, image).compile(quickly if jax.default_backend() == "cpu" else None)
    reads, result = jax.device_get(program(gives, image))
    return Wiring(reads, gives, result)


def _read_and_given(module: nn.Conv | nn.BatchNorm, x: Any) -> tuple[Any, tuple[int, ...]]:
    """What a layer reads, explicit padding done, and the shape of its output."""
    if isinstance(module, nn.BatchNorm):
        return x, x.shape
    same, strides = module.padding == "SAME", module.strides
    if not isinstance(module.padding, str):
        x = jnp.pad(x, ((0, 0), *module.padding, (0, 0)))  # type: ignore[arg-type,misc]
    sides = zip(x.shape[1:3], module.kernel_size, strides)  # type: ignore[arg-type]
    return x, (1, *(-(-n // s) if same else (n - k) // s + 1 for n, k, s in sides), module.features)


def _whole(backbone: str, options: Mapping[str, Any], pooling: str, heads: Sequence[str]) -> Wiring:
    """The backbone with its head: global pooling and dense layers with ReLU between them."""
    trunk = backbone_wiring(backbone, tuple(sorted(options.items())))
    reads, gives = dict(trunk.reads), dict(trunk.gives)
    x = trunk.result.max((1, 2)) if pooling == "max" else trunk.result.mean((1, 2))
    for name in heads:
        reads[name], gives[name] = x, _stand_in(name, (1, 1 if name == heads[-1] else 5))
        x = np.maximum(gives[name], 0)
    return Wiring(reads, gives, gives[heads[-1]])


def differences(
    layers: Sequence[KerasLayer], output: int, paths: Mapping[str, tuple[str, ...]], section: Mapping[str, Any]
) -> list[str]:
    """What in the file's graph is not understood, or not as in the network of config section `section`.

    output: position of the layer that gives the age; paths: the place here of every layer with weights.
    """
    names = {name: path[-1] for name, path in paths.items()}
    heads = [*(f"dense{i}" for i in range(len(section["dense"]))), "output"]
    ours = _whole(section["backbone"], section["backbone_options"], section["pooling"], heads)
    problems: list[str] = []
    known: dict[int, np.ndarray | None] = {}

    def inputs(position: int) -> list[np.ndarray | None]:
        return [value(i) for i in layers[position].inputs] or [_stand_in("", (1, *_SIZE, 3))]

    def value(position: int) -> np.ndarray | None:
        """The output of a layer, None where it cannot be computed."""
        if position not in known:
            layer, place = layers[position], names.get(layers[position].name)
            given = [ours.gives[place]] if place else inputs(position)
            try:
                arrays = [x for x in given if x is not None]
                known[position] = _apply(layer, arrays, place is not None) if len(arrays) == len(given) else None
            except _NotUnderstood as error:
                known[position] = None
                problems.append(f"{layer.name} ({layer.kind}): {error}")
        return known[position]

    for position, layer in enumerate(layers):
        value(position)
        place = names.get(layer.name)
        if place and not _same(inputs(position), ours.reads[place]):
            problems.append(f"{layer.name} ({layer.kind}): reads {_input_names(layers, layer)}, {place} here does not")
    if not _same([value(output)], ours.result):
        problems.append(f"output: {_layer_name(layers, output)}; expected the last Dense layer without activation")
    return problems


def _same(given: Sequence[np.ndarray | None], expected: np.ndarray) -> bool:
    """Whether the only array given is the expected one; True where one is unknown, which is reported elsewhere."""
    if any(x is None for x in given):
        return True
    x = given[0]
    return len(given) == 1 and x is not None and x.shape == expected.shape and np.allclose(x, expected, atol=1e-5)


def _input_names(layers: Sequence[KerasLayer], layer: KerasLayer, depth: int = 5) -> str:
    """The layers whose output a layer reads, back to those with weights."""
    return " and ".join(_layer_name(layers, i, depth) for i in layer.inputs) or "the image"


def _layer_name(layers: Sequence[KerasLayer], position: int, depth: int = 5) -> str:
    layer = layers[position]
    name = layer.name if layer.kind == "Activation" else f"{layer.name} {layer.config.get('activation') or ''}".strip()
    return (
        name
        if layer.weight_kinds or not layer.inputs or not depth
        else f"{name} of {_input_names(layers, layer, depth - 1)}"
    )


def _apply(layer: KerasLayer, given: Sequence[np.ndarray], weighted: bool) -> np.ndarray:
    """Output of a layer without weights from its inputs; of one with weights, its activation on what it gives."""
    c, kind, x = layer.config, layer.kind, given[0]
    if c.get("data_format") not in (None, "channels_last"):
        raise _NotUnderstood(f"data_format {c['data_format']}; expected channels_last")
    if kind in _JOINS:
        return _join(layer, given)
    if len(given) != 1:
        raise _NotUnderstood(f"{len(given)} inputs; expected one")
    if weighted or kind == "Activation":
        return _activate(x, c.get("activation", "linear"))
    if kind in _IDENTITIES:
        return x
    if kind == "Flatten":
        return x.reshape(len(x), -1)
    if kind == "ReLU":
        changed = {k: c[k] for k in ("max_value", "negative_slope", "threshold") if c.get(k)}
        if changed or c.get("max_value") is not None:
            raise _NotUnderstood(f"{changed or 'max_value 0'}; expected a plain ReLU")
        return np.maximum(x, 0)
    if x.ndim != 4:
        raise _NotUnderstood(f"an input of shape {x.shape}; expected [batch, rows, cols, channels]")
    if kind == "ZeroPadding2D":
        return np.pad(x, ((0, 0), *(_pair(side) for side in _pair(c["padding"])), (0, 0)))
    if kind in _GLOBAL_POOLS:
        return _GLOBAL_POOLS[kind](x, axis=(1, 2), keepdims=bool(c.get("keepdims", False)))
    if kind in _POOLS:
        return _pool(x, c, _POOLS[kind])
    raise _NotUnderstood("a class that no known backbone has")


def _activate(x: np.ndarray, activation: Any) -> np.ndarray:
    if activation not in ("linear", "relu", None):
        raise _NotUnderstood(f"activation {activation}; expected relu or linear")
    return np.maximum(x, 0) if activation == "relu" else x


def _join(layer: KerasLayer, given: Sequence[np.ndarray]) -> np.ndarray:
    if layer.kind == "Concatenate":
        if layer.config.get("axis", -1) not in (-1, given[0].ndim - 1):
            raise _NotUnderstood(f"axis {layer.config['axis']}; expected the last")
        if len({x.shape[:-1] for x in given}) > 1:
            raise _NotUnderstood(f"inputs of shapes {[x.shape for x in given]}; expected equal sides")
        return np.concatenate(given, axis=-1)
    if len({x.shape for x in given}) > 1:
        raise _NotUnderstood(f"inputs of shapes {[x.shape for x in given]}; expected equal ones")
    if layer.kind == "Add":
        return np.sum(given, axis=0)
    scale = scale_of(layer)
    if scale is None or len(given) != 2:
        raise _NotUnderstood(f"{len(given)} inputs, scale {scale}; expected a branch to add, and its scale")
    return given[0] + np.float32(scale) * given[1]


def scale_of(layer: KerasLayer) -> float | None:
    """The factor of a residual branch, from the config alone; a Lambda's code is never executed."""
    arguments = layer.config.get("arguments") if layer.kind == "Lambda" else layer.config
    value = (arguments or {}).get("scale")
    return float(value) if isinstance(value, int | float) else None


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, list | tuple) else (value, value)


def _pool(x: np.ndarray, c: Mapping[str, Any], reduce: Any) -> np.ndarray:
    """Pooling over windows; with padding "same" the outside does not count."""
    size = _pair(c.get("pool_size", 2))
    strides = _pair(c.get("strides") or size)
    if c.get("padding", "valid") == "same":
        missing = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(x.shape[1:3], size, strides)]
        pads = [(m // 2, m - m // 2) for m in missing]
        x = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
    return reduce(windows[:, :: strides[0], :: strides[1]], axis=(-2, -1))
