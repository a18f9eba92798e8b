"""The blocks of the UNet against a calculation in float64 numpy, and the states that its levels hand over."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.models import unet_blocks
from brain_diffusion_jax.models.unet_config import UNetConfig

CONFIG = UNetConfig(
    channels=(4, 8),
    num_res_blocks=2,
    attention_levels=(False, True),
    num_head_channels=(0, 4),
    norm_num_groups=2,
    context_dim=None,
)
RNG = np.random.default_rng(0)
X, TIME = RNG.standard_normal((2, 4, 6, 4)), RNG.standard_normal((2, 16))


def run(module, *inputs, scale=0.3):
    """Parameters, drawn, since some start at zero; and the output."""
    single = [jnp.asarray(a, jnp.float32) if isinstance(a, np.ndarray) else a for a in inputs]
    arrays = [a for a in single if a is not None and not isinstance(a, bool)]

    def call(params, *arrays):
        left = iter(arrays)
        given = [a if a is None or isinstance(a, bool) else next(left) for a in single]
        return module.apply({"params": params}, *given)

    shapes = jax.eval_shape(lambda key: module.init(key, *single), jax.random.key(0))["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda s: scale * rng.standard_normal(s.shape), shapes)
    return params, jax.jit(call)(jax.tree.map(jnp.float32, params), *arrays)


def silu(x):
    return x / (1 + np.exp(-x))


def group_norm(params, x, groups=2):
    grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    y = centred / np.sqrt(centred.var((1, 3), keepdims=True) + 1e-6)
    return y.reshape(x.shape) * params["scale"] + params["bias"]


def conv(params, x):
    """A 3 x 3 (x 3) convolution with zeros around, tap by tap; of size 1 a product."""
    kernel = params["kernel"]
    dims = x.ndim - 2
    if kernel.shape[0] == 1:
        return x @ kernel.reshape(kernel.shape[-2:]) + params["bias"]
    padded = np.pad(x, [(0, 0), *[(1, 1)] * dims, (0, 0)])
    out = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for tap in itertools.product(range(3), repeat=dims):
        window = tuple(slice(t, t + n) for t, n in zip(tap, x.shape[1:-1], strict=True))
        out += padded[(slice(None), *window)] @ kernel[tap]
    return out + params["bias"]


def res_block(params, x, time, change=lambda x: x):
    y = conv(params["conv1"], change(silu(group_norm(params["norm1"], x))))
    x = change(x)
    shift = silu(time) @ params["time_projection"]["kernel"] + params["time_projection"]["bias"]
    y = y + shift.reshape(len(x), *(1,) * (x.ndim - 2), -1)
    y = conv(params["conv2"], silu(group_norm(params["norm2"], y)))
    return y + (conv(params["skip"], x) if "skip" in params else x)


@pytest.mark.parametrize("features", [4, 8])
def test_a_residual_block_is_its_formula(features):
    params, got = run(unet_blocks.ResBlock(features, CONFIG), X, TIME)
    assert ("skip" in params) == (features != 4)
    np.testing.assert_allclose(got, res_block(params, X, TIME), atol=1e-4)


def test_a_residual_block_of_a_volume():
    x = RNG.standard_normal((1, 3, 2, 4, 4))
    config = dataclasses.replace(CONFIG, spatial_dims=3)
    params, got = run(unet_blocks.ResBlock(4, config), x, TIME[:1])
    np.testing.assert_allclose(got, res_block(params, x, TIME[:1]), atol=1e-4)


def test_a_residual_block_that_changes_the_resolution():
    def up(x):
        return x.repeat(2, axis=1).repeat(2, axis=2)

    def down(x):
        return x.reshape(2, 2, 2, 3, 2, 4).mean((2, 4))

    for resample, change in (("up", up), ("down", down)):
        params, got = run(unet_blocks.ResBlock(4, CONFIG, resample), X, TIME)
        np.testing.assert_allclose(got, res_block(params, X, TIME, change), atol=1e-4)


def test_a_new_block_adds_only_its_skip():
    block = unet_blocks.ResBlock(4, CONFIG)
    x, time = jnp.asarray(X, jnp.float32), jnp.asarray(TIME, jnp.float32)
    np.testing.assert_allclose(block.init_with_output(jax.random.key(0), x, time)[0], x, atol=1e-6)


def test_a_level_on_the_way_down_hands_over_every_state():
    level = unet_blocks.DownLevel(8, 2, 0, False, CONFIG)
    params, (x, states) = run(level, X, TIME, None, False)
    assert [s.shape for s in states] == [(2, 4, 6, 8), (2, 4, 6, 8), (2, 2, 3, 8)]
    first = res_block(params["res_0"], X, TIME)
    second = res_block(params["res_1"], first, TIME)
    np.testing.assert_allclose(states[0], first, atol=2e-4)
    np.testing.assert_allclose(states[1], second, atol=1e-3)
    halved = conv(params["downsample"], second)[:, ::2, ::2]
    np.testing.assert_allclose(x, halved, atol=2e-3)
    np.testing.assert_array_equal(states[2], x)
    _, (last, states) = run(unet_blocks.DownLevel(8, 2, 0, True, CONFIG), X, TIME, None, False)
    assert len(states) == 2
    np.testing.assert_array_equal(states[1], last)


def test_a_level_on_the_way_up_takes_the_last_state_first():
    level = unet_blocks.UpLevel(4, 2, 0, False, CONFIG)
    states = [jnp.asarray(RNG.standard_normal((2, 4, 6, n)), jnp.float32) for n in (8, 4)]
    single = jnp.asarray(X, jnp.float32), states, jnp.asarray(TIME, jnp.float32), None, False
    shapes = jax.eval_shape(lambda key: level.init(key, *single), jax.random.key(0))["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda s: 0.3 * rng.standard_normal(s.shape), shapes)
    got = level.apply({"params": jax.tree.map(jnp.float32, params)}, *single)
    y = res_block(params["res_0"], np.concatenate([X, states[1]], -1), TIME)
    y = res_block(params["res_1"], np.concatenate([y, states[0]], -1), TIME)
    want = conv(params["upsample"], y.repeat(2, axis=1).repeat(2, axis=2))
    assert got.shape == (2, 8, 12, 4)
    np.testing.assert_allclose(got, want, atol=5e-3, rtol=1e-3)


def test_the_middle_attends_and_a_level_does_where_it_has_heads():
    middle, _ = run(unet_blocks.MiddleLevel(4, 4, CONFIG), X, TIME, None, False)
    assert set(middle) == {"res_0", "attention_0", "res_1"}
    with_heads, _ = run(unet_blocks.DownLevel(4, 1, 4, True, CONFIG), X, TIME, None, False)
    assert set(with_heads) == {"res_0", "attention_0"}
