"""Every foreign tensor to its place among our parameters, and back: all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from brain_diffusion_jax.conversion.finite import require_finite
from brain_diffusion_jax.conversion.torch_files import State
from brain_diffusion_jax.errors import InputError

Path = tuple[str, ...]
_SHOWN = 400


def to_ours(leaf: str, array: np.ndarray) -> np.ndarray:
    """torch's layout to ours: kernels [out, in, *window] -> [*window, in, out]; the rest unchanged."""
    if leaf != "kernel":
        return array
    return np.ascontiguousarray(np.moveaxis(array, (1, 0), (-2, -1)))


def to_theirs(leaf: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_ours`."""
    if leaf != "kernel":
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(np.moveaxis(array, (-1, -2), (0, 1)))


def shapes_of(init: Callable[..., Any], *inputs: Any) -> dict[Path, tuple[int, ...]]:
    """Shape of every variable of a network's `init` by its path; nothing is computed."""
    shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
    return {path: tuple(leaf.shape) for path, leaf in traverse_util.flatten_dict(shapes).items()}


def _their_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[-1], shape[-2], *shape[:-2]) if path[-1] == "kernel" else shape


def place(
    state: State, names: Mapping[str, Path], shapes: Mapping[Path, tuple[int, ...]], where: object, network: str
) -> dict[str, Any]:
    """Our nested parameters, float32, from a state dict. names: our path of each of their names.

    Raises InputError with the full list of keys that are missing, left over or misshapen, or are no finite numbers.
    """
    problems = [f"missing {name}" for name in sorted(names.keys() - state.keys())]
    problems += [f"left over {name} {state[name].shape}" for name in sorted(state.keys() - names.keys())]
    for name, path in names.items():
        wanted = _their_shape(path, shapes[path])
        if name in state and state[name].shape != wanted:
            problems.append(f"misshapen {name}: {state[name].shape}, not {wanted}")
    if problems:
        listing = "".join(f"\n  {line}" for line in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        expected = f"the {len(names)} of this {network}"
        raise InputError(where, "keys", f"{len(problems)} that do not fit{listing}{more}\n", expected)
    for name in names:
        require_finite(where, name, state[name])
    flat = {path: to_ours(path[-1], state[name].astype(np.float32)) for name, path in names.items()}
    return traverse_util.unflatten_dict(flat)


def unplace(
    params: Mapping[str, Any], names: Mapping[str, Path], shapes: Mapping[Path, tuple[int, ...]], section: str
) -> State:
    """The inverse of `place`. Raises InputError where params are not those of config section `section`."""
    flat = traverse_util.flatten_dict(dict(params))
    wrong = sorted(".".join(p) for p in flat.keys() ^ shapes.keys())
    wrong += [".".join(p) for p in flat.keys() & shapes.keys() if tuple(np.shape(flat[p])) != shapes[p]]
    if wrong:
        raise InputError("convert", "parameters", ", ".join(wrong[:_SHOWN]), f"those of config section `{section}`")
    for path, array in flat.items():
        require_finite("convert", ".".join(path), array)
    return {name: to_theirs(path[-1], np.asarray(flat[path], np.float32)) for name, path in names.items()}
