"""State dicts out of .pt, .pth and .safetensors files, and back; nothing in a file is ever executed."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax.errors import InputError

State = dict[str, np.ndarray]
_PICKLES = (".pt", ".pth", ".ckpt", ".bin")
# Where trainers keep the state dict inside a checkpoint, in the order they are tried.
_INSIDE = ("model_state_dict", "state_dict", "model", "ema_state_dict")


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(
            "convert", "torch", "not installed", "pip install torch, or the weights as .safetensors"
        ) from None
    return torch


def _unpickle(path: Path) -> Any:
    torch = _torch()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        if "nsupported" in str(error) or "GLOBAL" in str(error):
            raise InputError(
                path,
                "pickle",
                f"objects other than tensors, which could run code ({reason})",
                "a state dict alone: torch.save(model.state_dict(), path) where you trust the file",
            ) from error
        raise InputError(path, "file", f"unreadable ({reason})", "a file written by torch.save") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, "file", f"unreadable ({reason})", "a whole file written by torch.save") from error


def _as_numpy(path: Path, name: str, value: Any) -> np.ndarray:
    torch = _torch()
    if not isinstance(value, torch.Tensor):
        raise InputError(path, name, type(value).__name__, "a tensor")
    if value.is_floating_point():
        value = value.float()
    return value.detach().cpu().contiguous().numpy()


def _state_dict(path: Path, content: Any) -> Mapping[str, Any]:
    """The state dict of a checkpoint, itself or one level down."""
    torch = _torch()
    for key in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    if isinstance(content, Mapping) and content and all(isinstance(v, torch.Tensor) for v in content.values()):
        return content
    found = f"a mapping of {sorted(map(str, content))[:12]}" if isinstance(content, Mapping) else type(content).__name__
    raise InputError(path, "content", found, f"tensors by name, bare or under {', '.join(_INSIDE)}")


def read_state(path: str | Path, prefix: str | None = None) -> State:
    """Every tensor of the file by name, floats as float32; `prefix` picks one network of several.

    Without it a prefix that all keys share ("module." of DataParallel, "_orig_mod." of torch.compile,
    a wrapper's "model.") is taken off. Pickles are read with weights_only=True alone.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "file", "no such file", "weights as .pt, .pth or .safetensors")
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)
    elif path.suffix in _PICKLES:
        content = _state_dict(path, _unpickle(path))
        state = {str(name): _as_numpy(path, str(name), value) for name, value in content.items()}
    else:
        raise InputError(path, "suffix", path.suffix or "none", f"{', '.join(_PICKLES)} or .safetensors")
    if prefix is not None:
        chosen = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
        if not chosen:
            tops = sorted({name.split(".")[0] + "." for name in state})
            raise InputError(path, "prefix", prefix, f"one of {', '.join(tops[:12])}")
        return chosen
    return _without_shared_prefix(state)


def _without_shared_prefix(state: State, landmark: str = "conv_in.") -> State:
    for name in state:
        start = name.find(landmark)
        if start > 0 and name[start - 1] == "." and all(n.startswith(name[:start]) for n in state):
            return {n[start:]: value for n, value in state.items()}
    return state


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        state = load_file(path)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(path, "file", f"unreadable ({error})", "a safetensors file") from error
    return {name: _float32(array) for name, array in state.items()}


def _float32(array: np.ndarray) -> np.ndarray:
    whole = array.dtype.kind in "iub"
    return array if whole else array.astype(np.float32)


def write_state(path: str | Path, state: State) -> Path:
    """Write a state dict as .pt / .pth (bare tensors) or .safetensors; beside first, then renamed."""
    path = Path(path)
    if path.suffix != ".safetensors" and path.suffix not in _PICKLES:
        raise InputError(path, "suffix", path.suffix or "none", f"{', '.join(_PICKLES)} or .safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(arrays, part)
    else:
        torch = _torch()
        torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, part)
    part.replace(path)
    return path
