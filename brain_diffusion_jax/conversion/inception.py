"""pytorch-fid's InceptionV3 weights file, verified and converted for `models.backbones.inception_v3`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.conversion import placing, torch_files
from brain_diffusion_jax.conversion.finite import require_finite
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.backbones.inception_v3 import INPUT_SIZE, InceptionV3

FILE_NAME = "pt_inception-2015-12-05-6726825d.pth"
SHA256_START = "6726825d"


def read_weights(path: str | Path, sha256_start: str | None = SHA256_START) -> tuple[dict[str, Any], str]:
    """(variables of InceptionV3, version text) from the user's file.

    sha256_start: how the file's checksum must begin, None to take any file. Needs torch to read it.
    Raises InputError for a missing file, another checksum, and tensors that do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "file", "no such file", f"pytorch-fid's {FILE_NAME}")
    checksum = files.sha256(path)
    if sha256_start is not None and not checksum.startswith(sha256_start):
        raise InputError(path, "sha256", f"{checksum[:16]}…", f"{sha256_start}…, pytorch-fid's {FILE_NAME}")
    state, _ = torch_files.read_weights(path)
    return convert(state, path), f"pytorch-fid 2015-12-05 sha256 {checksum[:8]}"


def convert(state: Mapping[str, np.ndarray], where: object = "state dict") -> dict[str, Any]:
    """{"params", "batch_stats"} from a flat torch state dict; every tensor must fit, the classifier is left."""
    import jax

    shapes = jax.eval_shape(
        InceptionV3().init, jax.random.key(0), jax.ShapeDtypeStruct((1, INPUT_SIZE, INPUT_SIZE, 3), np.float32)
    )
    leaf_names = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

    def take(path: tuple[Any, ...], wanted: Any) -> np.ndarray:
        *modules, leaf = (key.key for key in path[1:])
        name = ".".join([*modules, leaf_names[leaf]])
        if name not in state:
            raise InputError(where, name, "missing", f"a tensor {wanted.shape}")
        array = placing.to_ours(leaf, np.asarray(state[name], np.float32))
        if array.shape != wanted.shape:
            raise InputError(where, name, array.shape, wanted.shape)
        require_finite(where, name, array)
        return np.ascontiguousarray(array)

    return jax.tree_util.tree_map_with_path(take, shapes)
