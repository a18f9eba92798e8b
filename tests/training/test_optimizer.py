"""Optimizers and learning rates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import traverse_util

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.unet import UNet
from brain_diffusion_jax.models.unet_config import UNetConfig
from brain_diffusion_jax.training import optimizer as optimizers

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_every_optimizer_goes_downhill(name):
    now, do = tiny.quadratic(name=name, rate=0.02)
    batch = {"target": jnp.full((1, 4), 1.0)}
    now, first = do(now, batch, KEY)
    for _ in range(20):
        now, last = do(now, batch, KEY)
    assert last["loss"] < 0.95 * first["loss"]


def test_learning_rates():
    def rates(**options):
        settings = optimizers.OptimizerSettings(learning_rate=1.0, warmup_steps=10, **options)
        return np.array([optimizers.learning_rate(settings, 100)(i) for i in range(101)])

    cosine, constant = rates(end_fraction=0.1), rates(schedule="constant")
    assert cosine[0] == pytest.approx(0.1)
    assert cosine[10] == pytest.approx(1.0)
    assert cosine[100] == pytest.approx(0.1)
    assert np.all(np.diff(cosine[10:]) < 0)
    assert np.all(np.diff(cosine[:11]) > 0)
    np.testing.assert_allclose(constant[10:], 1.0)
    for wrong in (dict(name="adamm"), dict(schedule="cosin"), dict(learning_rate=0.0)):
        with pytest.raises(InputError, match=r"optimizer\."):
            optimizers.OptimizerSettings(**wrong)


def first_updates(shapes, name="muon", **settings):
    """The first update of parameters of ones, for gradients whose singular values differ by a factor of 100."""
    rng = np.random.default_rng(0)
    gradients = {path: rng.standard_normal(shape) * np.geomspace(0.01, 1, shape[-1]) for path, shape in shapes.items()}
    gradients = jax.tree.map(jnp.float32, traverse_util.unflatten_dict(gradients))
    given = {"learning_rate": 1.0, "warmup_steps": 0, "clip_norm": 0.0, "weight_decay": 0.0, **settings}
    tx = optimizers.make(optimizers.OptimizerSettings(name=name, **given), 10)
    params = jax.tree.map(jnp.ones_like, gradients)
    updates = jax.jit(tx.update)(gradients, tx.init(params), params)[0]
    return traverse_util.flatten_dict(updates), traverse_util.flatten_dict(gradients)


def singular_values(update):
    """Of [*sizes, c, d] as a matrix, of an update whose root mean square would be 0.2 were it orthogonal."""
    matrix = np.asarray(update, np.float64).reshape(-1, update.shape[-1])
    return np.linalg.svd(matrix, compute_uv=False) / (0.2 * max(matrix.shape) ** 0.5)


@pytest.mark.parametrize("shape", [(6, 8), (3, 4, 6), (3, 3, 2, 6), (3, 3, 3, 2, 6), (1, 1, 6, 4)])
def test_muon_makes_kernels_of_every_rank_orthogonal(shape):
    updates, gradients = first_updates({("conv", "kernel"): shape})
    found, given = (singular_values(v["conv", "kernel"]) for v in (updates, gradients))
    assert given.max() / given.min() > 30
    # Newton-Schulz with Muon's coefficients ends between 0.68 and 1.14 (Jordan et al. 2024); the smallest come later.
    assert found.max() < 1.25
    assert found.min() > 0.3


def test_muon_leaves_biases_norms_and_tokens_to_adam():
    shapes = {("conv", "bias"): (4,), ("norm", "scale"): (4,), ("tokens", "nulls"): (3, 4)}
    shapes[("blocks", "res", "conv", "bias")] = (3, 4)
    updates, gradients = first_updates(shapes)
    first = (0.1 + 0.9 * 0.1 / (1 + 0.9)) / 0.1  # of Adam with Nesterov's momentum, as optax builds it beside Muon
    for path, update in updates.items():
        np.testing.assert_allclose(update, -first * np.sign(gradients[path]), rtol=1e-3, err_msg=str(path))


def test_muon_takes_every_layer_of_a_scanned_stack_by_itself():
    for module, shape in {"blocks": (5, 3, 3, 3, 2, 6), "layers": (5, 6, 8)}.items():
        path = ("level", module, "conv", "kernel")
        stacked, gradients = first_updates({path: shape})
        for layer in range(shape[0]):
            assert singular_values(stacked[path][layer]).min() > 0.3
        tx = optimizers.make(optimizers.OptimizerSettings("muon", 1.0, 0.0, warmup_steps=0, clip_norm=0.0), 10)
        alone = {"kernel": gradients[path][2]}
        update, _ = tx.update(alone, tx.init(alone), alone)
        np.testing.assert_allclose(stacked[path][2], update["kernel"], atol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_stacked_biases_do_not_decay(name):
    shapes = {("layers", "dense", "bias"): (3, 4), ("layers", "dense", "kernel"): (3, 4, 4), ("dense", "bias"): (4,)}
    plain, decayed = (first_updates(shapes, name, weight_decay=w)[0] for w in (0.0, 0.1))
    same = {path[-1]: bool(np.allclose(plain[path], decayed[path], atol=1e-5)) for path in shapes}
    assert same == {"bias": True, "kernel": False}


def test_the_networks_stack_under_the_names_that_optimizers_know():
    config = {"channels": (4, 4), "num_res_blocks": (3, 3), "attention_levels": (False, True), "norm_num_groups": 2}
    config |= {"num_head_channels": (0, 4), "context_dim": 2, "transformer_num_layers": 2}
    shapes = []
    for scan in (False, True):
        net = UNet(UNetConfig(**config, scan_blocks=scan))
        args = jnp.zeros((1, 4, 4, 1)), jnp.zeros(1), jnp.zeros((1, 1, 2))
        shapes.append(jax.eval_shape(net.init, KEY, *args)["params"])
    flat, stacked = (optimizers._as_matrices(p) for p in shapes)
    scanned = [path for path in traverse_util.flatten_dict(shapes[1]) if {"blocks", "layers"} & set(path)]
    assert {name for path in scanned for name in path} >= {"blocks", "layers"}
    for matrices, params in ((flat, shapes[0]), (stacked, shapes[1])):
        told = traverse_util.flatten_dict(matrices, is_leaf=lambda _, v: not isinstance(v, dict))
        for path, leaf in traverse_util.flatten_dict(params).items():
            axes, batch = told[path], len({"blocks", "layers"} & set(path))
            assert (axes is None) == (path[-1] != "kernel")
            if axes is not None:
                assert axes.reduction_axis == tuple(range(batch, leaf.ndim - 1))
