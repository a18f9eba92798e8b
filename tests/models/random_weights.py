"""Random weights everywhere (zeros that networks start with hide mistakes), and runs that compile quickly."""

from __future__ import annotations

import jax
import numpy as np


def randomised(module, *inputs, seed: int = 0, dtype=np.float32):
    """Variables of a module: kernels that keep the spread, norm scales near 1, all else small."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        noise = rng.standard_normal(leaf.shape)
        if name == "kernel":
            return (noise / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))).astype(dtype)
        return ((1.0 if name == "scale" else 0.0) + 0.2 * noise).astype(dtype)

    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return jax.tree_util.tree_map_with_path(draw, shapes)


# Compiling is the whole cost of tiny networks, running them nothing.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def cheaply(function, *inputs):
    """function(*inputs), jitted with little optimisation."""
    return jax.jit(function).lower(*inputs).compile(QUICK)(*inputs)
