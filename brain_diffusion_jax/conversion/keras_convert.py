"""Keras age regressors to parameters of `models.deep_brain_net`, float32, one tensor at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from brain_diffusion_jax.conversion.finite import require_finite
from brain_diffusion_jax.conversion.keras_backbones import Recipe, recognise
from brain_diffusion_jax.conversion.keras_files import KerasFile, open_keras
from brain_diffusion_jax.errors import InputError, refusing
from brain_diffusion_jax.models.deep_brain_net import make_age_network

# Keras' name of a weight -> (collection, name here). Kernels lie alike: [rows, cols, in, out], [in, out].
_CONV = {"kernel": ("params", "kernel"), "bias": ("params", "bias")}
_NORM = {
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
}
_SHOWN = 25
_SPARE = 1 << 20  # bytes that a weight may hold beyond 50 for each stored one


@dataclass(frozen=True)
class Converted:
    """variables: {"params": ..., ["batch_stats": ...]} of numpy arrays; age_model: the config section.

    findings: what the file is, a line each. source: {"file", "sha256", "layout", "published"}.
    """

    variables: dict[str, Any]
    age_model: dict[str, Any]
    findings: tuple[str, ...]
    source: dict[str, Any]


def convert(path: str | Path) -> Converted:
    """Read a Keras `.h5` or `.keras` age regressor. Raises InputError listing all that cannot be mapped."""
    # Configs and HDF5 trees of strangers hold any type in any place.
    with refusing(path, "model", "a file as Keras writes it"), open_keras(path) as file:
        converted = _convert(file)
    return converted


def _convert(file: KerasFile) -> Converted:
    recipe = recognise(file.layers, file.output)
    problems = [*file.problems, *recipe.problems]
    if not problems:
        problems = _misfits(file, recipe)
    if problems:
        rest = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        found = "; ".join(problems[:_SHOWN]) + rest
        expected = "a backbone of VGG16, ResNet50, DenseNet169 or InceptionResNetV2 with global pooling and Dense(1)"
        raise InputError(file.path, f"model ({file.layout}; {_summary(file)})", found, expected)
    variables = _read(file, recipe)
    source = {"file": file.path.name, "sha256": file.sha256, "layout": file.layout, "published": file.published_name}
    return Converted(variables, recipe.age_model, _findings(file, recipe), source)


def _summary(file: KerasFile) -> str:
    kinds = Counter(layer.kind for layer in file.layers if layer.weight_kinds)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no layer with weights"


def _findings(file: KerasFile, recipe: Recipe) -> tuple[str, ...]:
    name = file.published_name
    section = recipe.age_model
    head = " -> ".join(f"Dense({units})" for units in (*section["dense"], 1))
    count = sum(int(d.size) for weights in file.weights.values() for d in weights.values())
    return (
        f"the published {name} (sha256 agrees)"
        if name
        else f"none of the published files (sha256 {file.sha256[:12]}...)",
        f"{file.layout}{', with optimizer state (left out)' if file.optimizer_state else ''}",
        f"{section['backbone']}, width {section['width']:g}, normalisation epsilon {section['norm_eps']:g}, "
        f"{section['pooling']} pooling, {head}, dropout {section['dropout']:g}; {count / 1e6:.2f} M numbers",
    )


def _targets(file: KerasFile, recipe: Recipe) -> Iterator[tuple[str, str, tuple[str, tuple[str, ...]]]]:
    """(layer, kind of weight, (collection, path)) of every weight that the layers of the file have."""
    for layer in file.layers:
        names = _NORM if "moving_mean" in layer.weight_kinds else _CONV
        for kind in layer.weight_kinds:
            collection, name = names[kind]
            yield layer.name, kind, (collection, (*recipe.layers[layer.name], name))


def _shapes(recipe: Recipe) -> dict[tuple[str, tuple[str, ...]], tuple[int, ...]]:
    network = make_age_network(**recipe.age_model)
    tree = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {(p[0].key, tuple(k.key for k in p[1:])): leaf.shape for p, leaf in leaves}


def _misfits(file: KerasFile, recipe: Recipe) -> list[str]:
    """Weights that are missing, too many, or of another shape."""
    expected = _shapes(recipe)
    problems = []
    for layer, kind, target in _targets(file, recipe):
        stored = file.weights.get(layer, {}).get(kind)
        if stored is None:
            problems.append(f"{layer}/{kind}: no such weight in the file")
            continue
        wanted = expected.pop(target, None)
        if stored.shape != wanted:
            problems.append(f"{layer}/{kind}: shape {stored.shape}; expected {wanted}")
        elif stored.dtype.kind != "f":
            problems.append(f"{layer}/{kind}: dtype {stored.dtype}; expected floats")
        elif _SPARE + 50 * stored.id.get_storage_size() < stored.nbytes:
            problems.append(f"{layer}/{kind}: {stored.nbytes} bytes, of which hardly any are stored")
    return problems + [f"{'/'.join(path)}: no weight in the file for it" for _, path in expected]


def _read(file: KerasFile, recipe: Recipe) -> dict[str, Any]:
    variables: dict[str, Any] = {"params": {}}
    for layer, kind, (collection, path) in _targets(file, recipe):
        array = file.read(layer, kind)
        require_finite(file.path, f"{layer}/{kind}", array)
        variables.setdefault(collection, {})[path] = array
    return {collection: traverse_util.unflatten_dict(flat) for collection, flat in variables.items()}
