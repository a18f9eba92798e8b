"""State dicts out of .pt, .pth, .safetensors and TorchScript files, and back; no program in a file is ever run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError

State = dict[str, np.ndarray]
_PICKLES = (".pt", ".pth", ".ckpt", ".bin")
# Where trainers keep the state dict inside a checkpoint, in the order they are tried.
_INSIDE = ("model_state_dict", "unet_state_dict", "state_dict", "model", "ema_state_dict")


def _torch(expected: str = "pip install torch, or the weights as .safetensors") -> Any:
    try:
        import torch
    except ImportError:
        raise InputError("convert", "torch", "not installed", expected) from None
    return torch


def _unpickle(path: Path) -> Any:
    torch = _torch()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The first lines advise to trust the file, with colour codes; the reason follows them.
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        reason = text.split("WeightsUnpickler error:")[-1].strip().splitlines()[0]
        named = re.search(r"GLOBAL ([\w.]+)", text)
        if named or "nsupported" in text:
            found = f"{named.group(1) if named else reason}, an object other than tensors, which could run code"
            expected = "a state dict alone: torch.save(model.state_dict(), path) where you trust the file"
            raise InputError(path, "pickle", found, expected) from error
        raise InputError(path, "file", f"unreadable ({reason[:200]})", "a file written by torch.save") from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, "file", f"unreadable ({reason})", "a whole file written by torch.save") from error


def _as_numpy(path: Path, name: str, value: Any) -> np.ndarray:
    torch = _torch()
    if not isinstance(value, torch.Tensor):
        raise InputError(path, name, type(value).__name__, "a tensor")
    if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
        kind = "without numbers (meta)" if value.is_meta else f"{value.layout} of {value.dtype}"
        raise InputError(path, name, f"a tensor {kind}", "a dense tensor of real numbers")
    if value.is_floating_point() and value.element_size() == 1:
        # Its scale is not in this tensor.
        raise InputError(path, name, f"a tensor of {value.dtype}", "float32, float16 or bfloat16")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise InputError(path, name, f"a view of {tuple(value.shape)} on fewer numbers", "a tensor that holds them all")
    if value.is_floating_point():
        value = value.float()
    return value.detach().cpu().contiguous().numpy()


def _state_dict(path: Path, content: Any, inside: str | None) -> tuple[Mapping[str, Any], str | None]:
    """The state dict of a checkpoint, itself or one level down, and a line that names it where there are several."""
    torch = _torch()
    there = [k for k, v in content.items() if isinstance(v, Mapping)] if isinstance(content, Mapping) else []
    if inside is not None and inside not in there:
        raise InputError(path, "--inside", inside, f"one of {', '.join(map(str, there)) or 'none: bare tensors'}")
    chosen = inside or next((key for key in _INSIDE if key in there), None)
    if chosen is not None:
        others = [key for key in _INSIDE if key in there and key != chosen]
        also = f" (not {', '.join(others)}, which the file holds too: --inside)" if others else ""
        return content[chosen], f"weights: {chosen} of the file{also}"
    if isinstance(content, Mapping) and content and all(isinstance(v, torch.Tensor) for v in content.values()):
        return content, None
    found = f"a mapping of {sorted(map(str, content))[:12]}" if isinstance(content, Mapping) else type(content).__name__
    raise InputError(path, "content", found, f"tensors by name, bare or under {', '.join(_INSIDE)}")


def read_weights(path: str | Path, prefix: str | None = None, inside: str | None = None) -> tuple[State, str | None]:
    """Every tensor of the file by name, floats as float32; and a line that names the state dict taken.

    prefix: picks one network of several; inside: one state dict of several, such as ema_state_dict. Without a
    prefix one that all keys share ("module." of DataParallel, "_orig_mod." of torch.compile, a wrapper's
    "model.") is taken off. Pickles are read with weights_only=True alone.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "file", "no such file", "weights as .pt, .pth or .safetensors")
    note = None
    if path.suffix == ".safetensors":
        if inside is not None:
            raise InputError(path, "--inside", inside, "nothing: a safetensors file holds bare tensors")
        state = _read_safetensors(path)
    elif path.suffix in _PICKLES:
        content, note = _state_dict(path, _unpickle(path), inside)
        state = {str(name): _as_numpy(path, str(name), value) for name, value in content.items()}
    else:
        raise InputError(path, "suffix", path.suffix or "none", f"{', '.join(_PICKLES)} or .safetensors")
    return (_without_shared_prefix(state) if prefix is None else _with_prefix(path, state, prefix)), note


def read_torchscript(path: str | Path, install: str) -> State:
    """Every tensor of a TorchScript archive by name. Its program is parsed, never run. install: says how to get torch.

    Give it files of installed packages only. Raises InputError for a file that is none.
    """
    torch = _torch(install)
    try:
        state = torch.jit.load(str(path), map_location="cpu").state_dict()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, "file", f"unreadable ({reason[:200]})", "a TorchScript archive") from error
    return {name: _as_numpy(Path(path), name, value) for name, value in state.items()}


def _with_prefix(path: Path, state: State, prefix: str) -> State:
    chosen = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    if not chosen:
        tops = sorted({name.split(".")[0] + "." for name in state})
        raise InputError(path, "prefix", prefix, f"one of {', '.join(tops[:12])}")
    return chosen


def _without_shared_prefix(state: State, landmarks: tuple[str, ...] = ("conv_in.", "encoder.blocks.")) -> State:
    for name in state:
        for start in (name.find(landmark) for landmark in landmarks):
            if start > 0 and name[start - 1] == "." and all(n.startswith(name[:start]) for n in state):
                return {n[start:]: value for n, value in state.items()}
    return state


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError, safe_open

    state: State = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                state[name] = _float32(path, name, file)
    except (SafetensorError, OSError) as error:
        raise InputError(path, "file", f"unreadable ({error})", "a safetensors file") from error
    return state


def _float32(path: Path, name: str, file: Any) -> np.ndarray:
    """A tensor of an open safetensors file; numpy has no fp8, and its scales are in other tensors."""
    try:
        array = file.get_tensor(name)
    except (AttributeError, TypeError, KeyError) as error:
        kind = file.get_slice(name).get_dtype()
        raise InputError(path, name, f"numbers of type {kind}", "float32, float16 or bfloat16") from error
    if array.dtype.kind == "c":
        raise InputError(path, name, f"numbers of type {array.dtype}", "real numbers")
    return array if array.dtype.kind in "iub" else array.astype(np.float32)


def write_state(path: str | Path, state: State) -> Path:
    """Write a state dict as .pt / .pth (bare tensors) or .safetensors, whole or not at all."""
    path = Path(path)
    if path.suffix != ".safetensors" and path.suffix not in _PICKLES:
        raise InputError(path, "suffix", path.suffix or "none", f"{', '.join(_PICKLES)} or .safetensors")
    arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        files.write_bytes(path, save(arrays))
        return path
    torch = _torch()
    with files.replacing(path) as file:
        torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, file)
    return path
