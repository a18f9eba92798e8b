"""Generated pictures on disk, chunk by chunk, so that an interrupted study continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.pixels import to_uint8

SampleFn = Callable[[list[dict[str, Any]], float, int], np.ndarray]


def fingerprint(*things: object) -> str:
    """A short hash of JSON-able things."""
    text = json.dumps(things, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def claim(folder: Path, plan: Mapping[str, Any]) -> None:
    """Bind a study folder to one plan; another plan in the same folder is refused, never mixed."""
    path = folder / "plan.json"
    wanted = json.loads(json.dumps(plan, default=str))
    if path.exists():
        found = files.read_json(path, "plan")
        differing = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
        if differing:
            raise InputError(
                path,
                ", ".join(differing),
                {k: found.get(k) for k in differing},
                f"{ {k: wanted.get(k) for k in differing} }, or another --out folder",
            )
        return
    files.write_json(path, wanted)


def scale_name(scale: float) -> str:
    return f"w={scale:g}"


def to_stored(pictures: np.ndarray, count: int, size: tuple[int, int], where: str) -> np.ndarray:
    """uint8 [count, rows, cols] from floats in [0, 1], as 8-bit PNGs; refuses NaN and other shapes."""
    array = np.asarray(pictures)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.shape != (count, *size):
        raise InputError(where, "shape", array.shape, (count, *size))
    if not np.isfinite(array).all():
        raise InputError(where, "values", "NaN or Inf", "finite pictures (did the model diverge?)")
    if array.min() < -0.05 or array.max() > 1.05:
        raise InputError(where, "range", f"{array.min():g} to {array.max():g}", "unit pictures in [0, 1]")
    return to_uint8(array)


def chunk_seed(seed: int, chunk: int) -> int:
    """The same for every guidance scale: pictures of a chunk differ by the scale only (common noise)."""
    return int(np.random.SeedSequence([seed, chunk]).generate_state(1)[0] >> 1)


def generate(
    sample_fn: SampleFn,
    conditions: Sequence[Mapping[str, Any]],
    scale: float,
    size: tuple[int, int],
    folder: Path,
    *,
    seed: int = 0,
    chunk: int = 64,
    process_index: int = 0,
    process_count: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the missing chunks of this process; chunks go round-robin over processes."""
    target = folder / "samples" / scale_name(scale)
    for number, start in enumerate(range(0, len(conditions), chunk)):
        if number % process_count != process_index:
            continue
        wanted = [dict(c) for c in conditions[start : start + chunk]]
        path = target / f"{number:05d}.npy"
        if not path.exists():
            pictures = sample_fn(wanted, scale, chunk_seed(seed, number))
            where = f"samples at {scale_name(scale)}, chunk {number}"
            files.write_npy(path, to_stored(pictures, len(wanted), size, where))
        if progress is not None:
            progress(len(wanted))


def read(folder: Path, scale: float) -> np.ndarray:
    """All chunks of one scale, uint8 [n, rows, cols]."""
    paths = sorted((folder / "samples" / scale_name(scale)).glob("*.npy"))
    if not paths:
        raise InputError(folder, f"samples of {scale_name(scale)}", "none", "a finished sampling stage")
    return np.concatenate([np.load(path) for path in paths])


def cached(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in `path`, computed and saved if it is not there."""
    if not path.exists():
        files.write_npy(path, compute())
    return np.load(path)
