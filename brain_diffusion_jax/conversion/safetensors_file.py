"""A whole run as one safetensors file: parameters by path, config and contract in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from brain_diffusion_jax import __version__
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError

FORMAT = "brain_diffusion_jax.run"
_PARTS = ("params", "model_state")


@dataclass(frozen=True)
class PublishedRun:
    """kind: "diffusion", "age", ...; config: as in config.json without kind; params, model_state: nested dicts."""

    kind: str
    config: dict[str, Any]
    contract: Contract | None
    params: dict[str, Any]
    model_state: dict[str, Any] = field(default_factory=dict)


def _flat(part: str, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {}
    for path, leaf in traverse_util.flatten_dict(dict(tree)).items():
        if any("/" in name for name in path):
            raise InputError("safetensors", "parameter", path, "names without '/'")
        # save_file writes the memory as it lies: a view would come out scrambled. (A number becomes
        # [1] in ascontiguousarray, hence the shape.)
        array = np.asarray(leaf)
        arrays["/".join((part, *path))] = np.ascontiguousarray(array).reshape(array.shape)
    return arrays


def write(path: str | Path, run: PublishedRun) -> Path:
    """Write one .safetensors file (beside first, then renamed)."""
    from safetensors.numpy import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(path, "suffix", path.suffix or "none", ".safetensors")
    metadata = {
        "format": FORMAT,
        "package_version": __version__,
        "kind": run.kind,
        "config": json.dumps(run.config),
        "contract": json.dumps(run.contract.to_json()) if run.contract else "",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file({**_flat("params", run.params), **_flat("model_state", run.model_state)}, part, metadata=metadata)
    part.replace(path)
    return path


def read(path: str | Path) -> PublishedRun:
    """The run in a file of `write`. Raises InputError for another format or a damaged file."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(path, "file", "no such file", "a .safetensors file of `convert safetensors`")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {tuple(name.split("/")): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(path, "file", f"unreadable ({error})", "a whole safetensors file") from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "no format in the metadata")
        raise InputError(path, "format", found, f"{FORMAT}; foreign weights go through `convert monai`")
    strange = sorted("/".join(p) for p in arrays if p[0] not in _PARTS or len(p) < 2)
    if strange:
        raise InputError(path, "tensors", ", ".join(strange), f"names that begin with {' or '.join(_PARTS)}")
    try:
        config = json.loads(metadata["config"])
        contract = json.loads(metadata["contract"]) if metadata["contract"] else None
        kind = metadata["kind"]
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(path, "metadata", f"{type(error).__name__}: {error}", "kind, config and contract") from error
    trees = {part: {p[1:]: a for p, a in arrays.items() if p[0] == part} for part in _PARTS}
    params, state = (traverse_util.unflatten_dict(trees[part]) for part in _PARTS)
    return PublishedRun(kind, config, Contract.from_json(contract, path) if contract else None, params, state)
