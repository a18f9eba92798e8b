"""Generated images on disk, chunk by chunk, so that an interrupted study continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from brain_diffusion_jax import files
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import channels_last
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
        known = files.read_json(path, "plan")
        differing = sorted(k for k in {*known, *wanted} if known.get(k) != wanted.get(k))
        if differing:
            mine, theirs = ({k: plan.get(k) for k in differing} for plan in (wanted, known))
            raise InputError(path, ", ".join(differing), theirs, f"{mine}, or another --out folder")
        return
    files.write_json(path, wanted)


def scale_name(scale: float) -> str:
    return f"w={scale:g}"


@dataclass(frozen=True)
class Processes:
    """Processes that share the sampling; the first measures. barrier: called between the stages of several."""

    index: int = 0
    count: int = 1
    barrier: Callable[[str], None] = lambda stage: None


ALONE = Processes()


def to_stored(images: np.ndarray, shape: tuple[int, ...], where: str) -> UInt8[np.ndarray, "n ..."]:
    """uint8 of unit images [n, *spatial, channels]; refuses NaN and other shapes."""
    array = channels_last(images, where)
    if array.shape != shape:
        raise InputError(where, "shape", array.shape, shape)
    if not np.isfinite(array).all():
        raise InputError(where, "values", "NaN or Inf", "finite images (did the model diverge?)")
    if array.min() < -0.05 or array.max() > 1.05:
        raise InputError(where, "range", f"{array.min():g} to {array.max():g}", "unit images in [0, 1]")
    return to_uint8(array)


def chunk_seed(seed: int, chunk: int) -> int:
    """The same for every guidance scale: images of a chunk differ by the scale only (common noise)."""
    return int(np.random.SeedSequence([seed, chunk]).generate_state(1)[0] >> 1)


def generate(
    sample_fn: SampleFn,
    conditions: Sequence[Mapping[str, Any]],
    scale: float,
    shape: tuple[int, ...],
    folder: Path,
    *,
    seed: int = 0,
    chunk: int = 64,
    processes: Processes = ALONE,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> None:
    """Write the missing chunks of this process; chunks go round-robin over processes. shape: of one image."""
    target, done = folder / "samples" / scale_name(scale), 0
    for number, start in enumerate(range(0, len(conditions), chunk)):
        if number % processes.count != processes.index:
            continue
        wanted = [dict(c) for c in conditions[start : start + chunk]]
        path = target / f"{number:05d}.npy"
        if not path.exists():
            images = sample_fn(wanted, scale, chunk_seed(seed, number))
            where = f"samples at {scale_name(scale)}, chunk {number}"
            files.write_npy(path, to_stored(images, (len(wanted), *shape), where))
        done += len(wanted)
        progress(f"sampling {scale_name(scale)}", done, len(conditions))


def read(folder: Path, scale: float) -> UInt8[np.ndarray, "n ..."]:
    """All chunks of one scale; those that 0.1 wrote have no axis of channels."""
    paths = sorted((folder / "samples" / scale_name(scale)).glob("*.npy"))
    if not paths:
        raise InputError(folder, f"samples of {scale_name(scale)}", "none", "a finished sampling stage")
    return np.concatenate([channels_last(np.load(path), path) for path in paths])


def cached(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in `path`, computed and saved if it is not there."""
    if not path.exists():
        files.write_npy(path, compute())
    return np.load(path)
