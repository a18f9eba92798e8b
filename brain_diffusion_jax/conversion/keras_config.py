"""The config of a Keras model as a graph of its layers: nested models opened, every reference resolved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from brain_diffusion_jax.errors import InputError

MODELS = ("Sequential", "Model", "Functional")


@dataclass(frozen=True)
class KerasLayer:
    """A layer of the flattened model. inputs: positions of the layers it reads. group: the top-level layer it is in."""

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: tuple[int, ...]
    group: str
    archive_path: str = ""

    @property
    def weight_kinds(self) -> tuple[str, ...]:
        """Which weights Keras stores for it, in order; () for a layer without, or of a kind unknown here."""
        c = self.config
        if self.kind in ("Conv2D", "Convolution2D", "Dense"):
            return ("kernel", "bias") if c.get("use_bias", True) else ("kernel",)
        if self.kind.startswith("BatchNormalization"):
            own = [n for n, on in (("gamma", c.get("scale", True)), ("beta", c.get("center", True))) if on]
            return (*own, "moving_mean", "moving_variance")
        return ()


def flatten(config: Mapping[str, Any], where: object) -> tuple[tuple[KerasLayer, ...], int]:
    """The leaf layers of a Sequential or functional model, nested models opened, in the file's order; and the
    position of the one whose output is the model's. Raises InputError for a config that Keras does not write."""
    if not isinstance(config, Mapping) or config.get("class_name") not in MODELS:
        found = config.get("class_name") if isinstance(config, Mapping) else type(config).__name__
        raise InputError(where, "model_config.class_name", found, f"one of {', '.join(MODELS)}")
    leaves: list[KerasLayer] = []
    try:
        _, output = _walk(config, None, "", leaves)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        raise InputError(where, "model_config", f"{type(error).__name__}: {error}", "the JSON Keras wrote") from error
    twice = [name for name, count in Counter(x.name for x in leaves if x.weight_kinds).items() if count > 1]
    if twice:
        raise InputError(where, "model_config", f"several layers called {', '.join(twice)}", "a name for each")
    return tuple(leaves), output


def _walk(model: Mapping[str, Any], group: str | None, folder: str, leaves: list[KerasLayer]) -> tuple[list[int], int]:
    """Append the leaves of a model. Returns the positions that read the model's input, and that of its output."""
    inner = model["config"]
    # Sequential before Keras 2.2.3 kept a bare list.
    items = inner if isinstance(inner, list) else inner["layers"]
    used: dict[str, int] = {}
    outputs: dict[str, int] = {}
    readers: list[tuple[list[int], tuple[str, ...]]] = []
    previous: tuple[str, ...] = ()
    for item in items:
        kind, settings = item["class_name"], item["config"]
        name = item.get("name") or (settings.get("name") if isinstance(settings, Mapping) else None) or kind
        place = f"{folder}/layers/{_unique(_snake_case(kind), used)}".lstrip("/")
        if name in outputs:
            raise ValueError(f"two layers called {name}")
        if kind in MODELS:
            entries, outputs[name] = _walk(item, group or name, place, leaves)
        else:
            outputs[name] = len(leaves)
            entries = [len(leaves)]
            leaves.append(KerasLayer(name, kind, settings, (), group or name, place))
        readers.append(
            (entries, previous if model["class_name"] == "Sequential" else _inputs(name, item["inbound_nodes"]))
        )
        previous = (name,)
    for entries, names in readers:
        for entry in entries:
            leaves[entry] = replace(leaves[entry], inputs=tuple(outputs[n] for n in names))
    ends = _tensors(inner["output_layers"]) if "output_layers" in inner else list(previous)
    if len(ends) != 1:
        raise ValueError(f"outputs {ends}, expected one")
    return [entry for entries, names in readers if not names for entry in entries], outputs[ends[0]]


def _inputs(name: str, nodes: list[Any]) -> tuple[str, ...]:
    """Names of the layers an item reads, in the form of Keras 2 (lists) or Keras 3 (keras_history)."""
    if len(nodes) > 1:
        raise ValueError(f"{name} is used {len(nodes)} times, expected once")
    try:
        return tuple(_tensors(nodes))
    except ValueError as error:
        raise ValueError(f"{name} is called with {error}") from error


def _tensors(node: Any) -> list[str]:
    """Names of the layers whose output a part of a config refers to. Raises ValueError for what is neither a
    layer's only output nor left out: an argument such as training=True changes what a layer computes."""
    if isinstance(node, Mapping):
        if node.get("class_name") == "__keras_tensor__":
            return _tensors(node["config"]["keras_history"])
        return [name for value in node.values() for name in _tensors(value)]
    if isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            if node[2] != 0:
                raise ValueError(f"output {node[2]} of {node[0]}")
            return [node[0], *_tensors(node[3:])]
        return [name for value in node for name in _tensors(value)]
    if node is None or node is False:
        return []
    raise ValueError(repr(node))


def _snake_case(name: str) -> str:
    """Keras' rule: "Conv2D" -> "conv2d", "GlobalAveragePooling2D" -> "global_average_pooling2d"."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _unique(name: str, used: dict[str, int]) -> str:
    """ "conv2d", "conv2d_1", ... as layers of one class follow each other."""
    count = used.get(name, 0)
    used[name] = count + 1
    return f"{name}_{count}" if count else name
