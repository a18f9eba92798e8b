"""The UNet beyond what the parity tests see: any size, patches, precision, remat, dropout, silence at the start."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.models.unet import UNet
from brain_diffusion_jax.models.unet_config import UNetConfig

# Compiling is the whole cost of networks this small.
_CHEAP = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
_jit = functools.partial(jax.jit, compiler_options=_CHEAP)
TINY: dict[str, Any] = dict(
    channels=(4, 8),
    num_res_blocks=(1, 1),
    attention_levels=(False, True),
    num_head_channels=(0, 4),
    norm_num_groups=2,
    context_dim=3,
)


def _inputs(network: UNet, size: tuple[int, ...]) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(1), 2)
    x = jax.random.normal(keys[0], (2, *size, network.config.in_channels))
    return x, jnp.array([3.0, 700.0]), jax.random.normal(keys[1], (2, 2, network.config.context_dim or 1))


def _random_params(network: UNet, size: tuple[int, ...]) -> Any:
    """Random everywhere: the zeros of a fresh network would hide everything."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), *_inputs(network, size))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(0.2 * rng.standard_normal(s.shape), jnp.float32), shapes)


def test_starts_silent_with_float32_parameters() -> None:
    network = UNet(UNetConfig(**TINY, dtype="bfloat16"))
    inputs = _inputs(network, (8, 6))
    params = _jit(network.init)(jax.random.key(0), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    y = _jit(network.apply)(params, *inputs)
    assert y.dtype == jnp.float32
    assert not y.any()
    assert set(params["params"]) == {
        "conv_in",
        "time_mlp",
        "down_0",
        "down_1",
        "middle",
        "up_0",
        "up_1",
        "out_norm",
        "conv_out",
    }


@pytest.mark.parametrize("dims", [2, 3])
def test_any_size_is_the_padded_picture_cut(dims: int) -> None:
    network = UNet(UNetConfig(**TINY, spatial_dims=dims, patch_size=2))
    odd, even = (7, 5, 3)[:dims], (8, 8, 4)[:dims]
    params = _random_params(network, even)
    apply = _jit(network.apply)
    x, t, context = _inputs(network, odd)
    padded = jnp.pad(
        x, [(0, 0), *(((e - o) // 2, e - o - (e - o) // 2) for o, e in zip(odd, even)), (0, 0)], mode="edge"
    )
    inside = (slice(None), *(slice((e - o) // 2, (e - o) // 2 + o) for o, e in zip(odd, even)))
    y = apply(params, x, t, context)
    assert y.shape == x.shape
    np.testing.assert_allclose(y, apply(params, padded, t, context)[inside], atol=1e-5)


def test_remat_and_bfloat16_change_no_parameter_path_and_hardly_the_output() -> None:
    plain = UNet(UNetConfig(**TINY))
    params, inputs = _random_params(plain, (8, 8)), _inputs(plain, (8, 8))

    def loss_of(network: UNet):
        return _jit(jax.value_and_grad(lambda p: jnp.square(network.apply(p, *inputs)).mean()))(params)

    loss, gradient = loss_of(plain)
    again, same = loss_of(UNet(UNetConfig(**TINY, remat="blocks")))
    np.testing.assert_allclose(again, loss, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(a).max()) + 1e-7), gradient, same
    )
    in_half = UNet(UNetConfig(**TINY, dtype="bfloat16"))
    y, half = _jit(plain.apply)(params, *inputs), _jit(in_half.apply)(params, *inputs)
    assert half.dtype == jnp.float32
    assert 0 < jnp.abs(y - half).max() < 0.1 * jnp.abs(y).max()


@pytest.mark.parametrize("remat", ["none", "blocks"])
def test_scanned_blocks_are_the_same_network_with_stacked_parameters(remat: str) -> None:
    deep = {**TINY, "num_res_blocks": (3, 3), "transformer_num_layers": 2}
    plain, scanned = UNet(UNetConfig(**deep)), UNet(UNetConfig(**deep, scan_blocks=True, remat=remat))
    params, inputs = _random_params(plain, (8, 8))["params"], _inputs(plain, (8, 8))

    def stack(tree: Any) -> Any:
        """The parameters of `plain` where `scanned` has them."""
        if not isinstance(tree, dict):
            return tree
        tree = {name: stack(value) for name, value in tree.items()}
        if "layer_1" in tree:
            layers = [{"layer": tree.pop(f"layer_{i}")} for i in range(2)]
            tree["layers"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
        return tree

    params = stack(params)
    for level in ("down_0", "down_1"):
        tree = params[level]
        blocks = [
            {short: tree.pop(f"{short}_{i}") for short in ("res", "attention") if f"{short}_{i}" in tree}
            for i in (1, 2)
        ]
        tree["blocks"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), *inputs)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    y = _jit(scanned.apply)({"params": params}, *inputs)
    wanted = _jit(plain.apply)(_random_params(plain, (8, 8)), *inputs)
    np.testing.assert_allclose(y, wanted, atol=1e-5 * float(jnp.abs(wanted).max()))
    gradient = _jit(jax.grad(lambda p: jnp.square(scanned.apply({"params": p}, *inputs)).mean()))(params)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient["down_1"]["blocks"]))


def test_every_input_reaches_the_output() -> None:
    network = UNet(UNetConfig(**TINY, num_class_embeds=3, dropout_cattn=0.5))
    x, t, context = _inputs(network, (8, 6))
    labels, extra = jnp.array([0, 2]), jnp.zeros((2, network.config.time_dim))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, t, context, labels)
    params = jax.tree.map(lambda s: jnp.asarray(0.2 * rng.standard_normal(s.shape), jnp.float32), shapes)
    apply = _jit(network.apply, static_argnames="train")
    y = apply(params, x, t, context, labels, extra)
    changed = {
        "x": apply(params, x + 1, t, context, labels, extra),
        "t": apply(params, x, t + 5, context, labels, extra),
        "context": apply(params, x, t, context + 1, labels, extra),
        "class_labels": apply(params, x, t, context, labels - jnp.array([-1, 1]), extra),
        "embedding": apply(params, x, t, context, labels, extra + 1),
    }
    for name, other in changed.items():
        assert jnp.abs(other - y).max(axis=(1, 2, 3)).min() > 1e-4, name
    # Dropout only in training, and by its key.
    trained = [
        apply(params, x, t, context, labels, extra, train=True, rngs={"dropout": jax.random.key(k)}) for k in (0, 0, 1)
    ]
    np.testing.assert_array_equal(trained[0], trained[1])
    assert jnp.abs(trained[0] - trained[2]).max() > 1e-4
    assert jnp.abs(trained[0] - y).max() > 1e-4


def test_misuse_is_refused() -> None:
    network = UNet(UNetConfig(**{**TINY, "context_dim": None}))
    x, t, context = _inputs(network, (4, 4))
    for call, words in (
        ((x, t, context), "no cross-attention"),
        ((x, t, None, jnp.array([0, 1])), "class_labels"),
        ((x[0], t), "shape"),
    ):
        with pytest.raises(ValueError, match=words):
            jax.eval_shape(network.init, jax.random.key(0), *call)


def test_coordinates_let_a_network_tell_places_apart():
    """Far from the borders a convolution sees the same everywhere, unless it knows its position."""
    shape = {"channels": (8,), "num_res_blocks": (1,), "attention_levels": (False,), "num_head_channels": (8,)}
    x, t = jnp.zeros((1, 40, 40, 1)), jnp.zeros(1)

    def middle(coordinates: int) -> np.ndarray:
        module = UNet(UNetConfig(**shape, context_dim=None, norm_num_groups=4, coordinates=coordinates))
        params = module.init(jax.random.key(0), x, t)["params"]
        params["conv_out"] = jax.tree.map(lambda p: jax.random.normal(jax.random.key(1), p.shape), params["conv_out"])
        return np.asarray(module.apply({"params": params}, x, t))[0, 18:22, 18:22, 0]

    assert np.ptp(middle(0)) < 1e-4
    assert np.ptp(middle(2)) > 1e-3
