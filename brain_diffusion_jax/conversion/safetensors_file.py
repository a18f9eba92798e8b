"""A whole run as one safetensors file: parameters by path, config and contract in the metadata.

A digest of all of it is in the metadata too, and is checked on reading; files of before, without one, still open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from brain_diffusion_jax import __version__, files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.conversion.finite import require_finite
from brain_diffusion_jax.errors import InputError

PUBLISHED = "model.safetensors"  # its name in a published folder
FORMAT = "brain_diffusion_jax.run"
_PARTS = ("params", "model_state")
_METADATA = ("format", "package_version", "kind", "config", "contract", "sha256")
_DEEPEST = 64  # names in a path; ours have at most ten


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
        # save_file writes memory in its own order: a view would come out scrambled. (A number becomes
        # [1] in ascontiguousarray, hence the shape.)
        array = np.asarray(leaf)
        arrays["/".join((part, *path))] = np.ascontiguousarray(array).reshape(array.shape)
    return arrays


def _digest(metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of the metadata and of every array's name, type, shape and bytes."""
    digest = hashlib.sha256()
    for key in sorted(metadata.keys() - {"sha256"}):
        digest.update(f"{key}={metadata[key]}\0".encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {arrays[name].shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def write(path: str | Path, run: PublishedRun) -> Path:
    """Write one .safetensors file, whole or not at all. Refuses weights that are not finite."""
    from safetensors.numpy import save

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
    arrays = {**_flat("params", run.params), **_flat("model_state", run.model_state)}
    for name, array in arrays.items():
        require_finite(path, name, array)
    metadata["sha256"] = _digest(metadata, arrays)
    files.write_bytes(path, save(arrays, metadata=metadata))
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
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, AttributeError, TypeError) as error:  # the last two: types numpy lacks
        raise InputError(path, "file", f"unreadable ({error})", "a whole safetensors file") from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "no format in the metadata")
        raise InputError(path, "format", found, f"{FORMAT}; foreign weights go through `convert monai`")
    _require_undamaged(path, metadata, arrays)
    trees = _trees(path, arrays)
    config = files.parse_json(metadata["config"], path, "config")
    contract = files.parse_json(metadata["contract"], path, "contract") if metadata["contract"] else None
    loaded = Contract.from_json(contract, path) if contract else None
    return PublishedRun(metadata["kind"], config, loaded, trees["params"], trees["model_state"])


def _require_undamaged(path: Path, metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> None:
    unknown = sorted(metadata.keys() - set(_METADATA))
    absent = [key for key in ("kind", "config", "contract") if key not in metadata]
    if unknown or absent:
        found = f"unknown {', '.join(unknown) or 'nothing'}, without {', '.join(absent) or 'nothing'}"
        raise InputError(path, "metadata", found[:400], ", ".join(_METADATA))
    actual = _digest(metadata, arrays)
    written = metadata.get("sha256", actual)  # none in files of release 0.1
    if written != actual:
        raise InputError(path, "sha256", f"{actual[:16]}...", f"{written[:16]}..., as it was written: copy it again")
    for name, array in arrays.items():
        require_finite(path, name, array)


def _trees(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """{"params": nested dicts, "model_state": nested dicts} from arrays by path."""
    by_path = {tuple(name.split("/")): array for name, array in arrays.items()}
    strange = sorted("/".join(p)[:100] for p in by_path if p[0] not in _PARTS or not 2 <= len(p) <= _DEEPEST)
    if strange:
        expected = f"names that begin with {' or '.join(_PARTS)}, of at most {_DEEPEST} parts"
        raise InputError(path, "tensors", ", ".join(strange[:10]), expected)
    both = sorted("/".join(p[:i]) for p in by_path for i in range(2, len(p)) if p[:i] in by_path)
    if both:
        raise InputError(path, "tensors", f"{both[0]}, with others inside it", "arrays or groups of arrays")
    return {
        part: traverse_util.unflatten_dict({p[1:]: a for p, a in by_path.items() if p[0] == part}) for part in _PARTS
    }
