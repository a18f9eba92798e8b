"""InceptionV3 against Keras' (where equal), hand-computed pooling (where not)."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # runs without compiling each operation

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inception_state import random_state

from brain_diffusion_jax.conversion import inception as conversion
from brain_diffusion_jax.models.backbones.inception_v3 import BlockE, InceptionV3, mean_pool, prepare_input


@pytest.fixture(scope="module")
def state():
    return random_state()


@pytest.fixture(scope="module")
def variables(state):
    return conversion.convert(state)


@pytest.mark.parity
def test_equals_keras_where_the_networks_agree(variables):
    """Keras' convolutions come in the order its graph makes them; its norms have no scale (set to 1)."""
    keras = pytest.importorskip("keras")
    network = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(107, 107, 3))
    theirs = keras.Model(network.input, [network.get_layer("mixed7").output, network.output])
    params = jax.tree.map(lambda x: x, variables["params"])
    for branch in jax.tree_util.tree_leaves(params, is_leaf=lambda x: isinstance(x, dict) and "conv" in x):
        branch["bn"]["scale"] = np.ones_like(branch["bn"]["scale"])
    stats = variables["batch_stats"]
    convolutions = numbered(network, keras.layers.Conv2D)
    norms = numbered(network, keras.layers.BatchNormalization)
    for (block, branch), conv, norm in zip(keras_order(), convolutions, norms, strict=True):
        p = params[block][branch] if branch else params[block]
        s = stats[block][branch] if branch else stats[block]
        conv.set_weights([p["conv"]["kernel"]])
        norm.set_weights([p["bn"]["bias"], s["bn"]["mean"], s["bn"]["var"]])
    x = np.random.default_rng(1).uniform(-1, 1, (1, 107, 107, 3)).astype(np.float32)
    middle, last = (np.asarray(keras.ops.convert_to_numpy(y)) for y in theirs(x))

    def trace(weights, x):
        module = InceptionV3(fid=False)
        return module.apply(weights, x, capture_intermediates=lambda m, _: m.name == "Mixed_7b")

    ours, inner = jax.jit(trace)({"params": params, "batch_stats": stats}, x)
    np.testing.assert_allclose(ours[768], middle, atol=2e-4 * np.abs(middle).max())
    np.testing.assert_allclose(ours[2048], last, atol=2e-4 * np.abs(last).max())
    # The FID variant differs in the pooled branch of the last block and nowhere else.
    weights = {"params": params["Mixed_7c"], "batch_stats": stats["Mixed_7c"]}
    before = inner["intermediates"]["Mixed_7b"]["__call__"][0]
    fid = np.asarray(jax.jit(BlockE(max_pool=True).apply)(weights, before))
    np.testing.assert_allclose(fid[..., :-192], ours[2048][..., :-192], atol=1e-4)
    assert np.abs(fid[..., -192:] - ours[2048][..., -192:]).max() > 1e-2


def numbered(network, kind):
    """Keras' layers of one kind in the order of the numbers in their automatic names (conv2d, conv2d_1, ...)."""

    def number(layer):
        return int(layer.name.rpartition("_")[2]) if layer.name[-1].isdigit() and "_" in layer.name else 0

    return sorted((layer for layer in network.layers if isinstance(layer, kind)), key=number)


def keras_order():
    """(block, branch) in the order in which Keras' code builds its convolutions."""
    stem = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
    order = [(name, "") for name in stem]
    a = ["branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3", "branch_pool"]
    b = ["branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]
    c = [
        "branch1x1",
        *(f"branch7x7_{i}" for i in (1, 2, 3)),
        *(f"branch7x7dbl_{i}" for i in range(1, 6)),
        "branch_pool",
    ]
    d = ["branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in range(1, 5))]
    e = ["branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b"]
    e += ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"]
    blocks = {"5b": a, "5c": a, "5d": a, "6a": b, "6b": c, "6c": c, "6d": c, "6e": c, "7a": d, "7b": e, "7c": e}
    return order + [(f"Mixed_{name}", branch) for name, branches in blocks.items() for branch in branches]


def test_pooling_of_the_fid_variant_by_hand():
    """Means over the pixels that exist (4 in a corner, 6 on an edge), maxima in the last block."""
    x = np.random.default_rng(2).normal(size=(1, 4, 5, 2)).astype(np.float32)

    def by_hand(reduce):
        out = np.empty_like(x)
        for r in range(4):
            for c in range(5):
                out[0, r, c] = reduce(x[0, max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2], axis=(0, 1))
        return out

    np.testing.assert_allclose(mean_pool(jnp.asarray(x)), by_hand(np.mean), atol=1e-6)
    for max_pool, reduce in ((False, np.mean), (True, np.max)):
        block = BlockE(max_pool=max_pool)
        shapes = jax.eval_shape(block.init, jax.random.key(0), x)
        weights = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
        kernel = np.random.default_rng(4).normal(size=(1, 1, 2, 192)).astype(np.float32)
        weights["params"]["branch_pool"]["conv"]["kernel"] = kernel
        weights["params"]["branch_pool"]["bn"]["scale"] += 1
        weights["batch_stats"]["branch_pool"]["bn"]["var"] += 1
        pooled = by_hand(reduce) @ kernel[0, 0]
        expected = np.maximum(pooled / np.sqrt(1 + 1e-3), 0)
        np.testing.assert_allclose(jax.jit(block.apply)(weights, x)[..., -192:], expected, atol=1e-5)


@pytest.mark.parity
def test_resize_equals_torch():
    """pytorch-fid resizes with F.interpolate(bilinear, align_corners=False) and scales to [-1, 1]."""
    import torch

    x = np.random.default_rng(3).random((2, 109, 91, 1)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.as_tensor(x).permute(0, 3, 1, 2), size=(299, 299), mode="bilinear", align_corners=False
    )
    ours = np.asarray(prepare_input(jnp.asarray(x)))
    np.testing.assert_allclose(ours[..., 1], 2 * theirs[:, 0].numpy() - 1, atol=1e-5)
