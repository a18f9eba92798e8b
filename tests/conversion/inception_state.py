"""Random weights under the names of pytorch-fid's InceptionV3 file."""

from __future__ import annotations

import jax
import numpy as np

from brain_diffusion_jax.models.backbones.inception_v3 import InceptionV3


def random_state() -> dict[str, np.ndarray]:
    """A random torch-style state dict with the names and shapes of pytorch-fid's file."""
    shapes = jax.eval_shape(InceptionV3().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 299, 299, 3), np.float32))
    names = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    generator = np.random.default_rng(0)
    state = {"fc.weight": np.zeros((1008, 2048), np.float32)}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        *modules, kind = (key.key for key in path[1:])
        values = generator.normal(size=leaf.shape).astype(np.float32)
        if kind == "kernel":
            values = (values * np.sqrt(2 / np.prod(leaf.shape[:3]))).transpose(3, 2, 0, 1)
        else:
            values = {
                "scale": 1 + 0.1 * values,
                "bias": 0.1 * values,
                "mean": 0.1 * values,
                "var": 1 + 0.1 * values**2,
            }[kind]
        state[".".join([*modules, names[kind]])] = np.ascontiguousarray(values, np.float32)
    return state
