"""Attention against softmax in float64 numpy; the transformer layer against its own formula."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, softmax

from brain_diffusion_jax.models.attention import Attention, SpatialSelfAttention, SpatialTransformer, TransformerLayer

X = np.random.default_rng(0).standard_normal((2, 5, 6))
CONTEXT = np.random.default_rng(1).standard_normal((2, 3, 4))


def drawn(module, *inputs):
    """The module's parameters, all of them drawn, so that none hides behind a zero; and its output."""
    single = [None if a is None else jnp.asarray(a, jnp.float32) for a in inputs]
    shapes = jax.eval_shape(module.init, jax.random.key(0), *single)["params"]
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda s: 0.5 * rng.standard_normal(s.shape), shapes)
    return params, np.asarray(module.apply({"params": jax.tree.map(jnp.float32, params)}, *single), np.float64)


def dense(params, x):
    return x @ params["kernel"] + params.get("bias", 0)


def attend(q, k, v, heads):
    """softmax(q k / sqrt(d)) v head by head, in float64."""
    parts = []
    for one, other, value in zip(*(np.split(a, heads, axis=-1) for a in (q, k, v)), strict=True):
        parts.append(softmax(one @ other.swapaxes(1, 2) / np.sqrt(one.shape[-1]), axis=-1) @ value)
    return np.concatenate(parts, axis=-1)


def layer_norm(params, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * params["scale"] + params["bias"]


@pytest.mark.parametrize("context", [None, CONTEXT], ids=["itself", "context"])
@pytest.mark.parametrize("upcast", [False, True])
def test_attention_is_softmax_of_queries_and_keys(context, upcast):
    params, got = drawn(Attention(heads=2, head_channels=3, upcast=upcast), X, context)
    source = X if context is None else context
    q, k, v = dense(params["to_q"], X), dense(params["to_k"], source), dense(params["to_v"], source)
    np.testing.assert_allclose(got, dense(params["out_proj"], attend(q, k, v, 2)), atol=2e-4)


def test_one_layer_for_queries_keys_and_values():
    params, got = drawn(Attention(heads=2, head_channels=3, combined=True, project=False, qkv_bias=True), X)
    np.testing.assert_allclose(got, attend(*np.split(dense(params["qkv"], X), 3, axis=-1), 2), atol=2e-4)


def test_large_logits_do_not_overflow_in_half_precision():
    module = Attention(heads=1, head_channels=6, dtype=jnp.bfloat16)
    assert np.isfinite(drawn(module, 200 * X)[1]).all()


def test_a_transformer_layer_is_attention_twice_and_a_gated_mlp():
    params, got = drawn(TransformerLayer(heads=2, head_channels=3), X, CONTEXT)

    def attention(p, x, source):
        q, k, v = dense(p["to_q"], x), dense(p["to_k"], source), dense(p["to_v"], source)
        return dense(p["out_proj"], attend(q, k, v, 2))

    y = layer_norm(params["norm1"], X)
    x = X + attention(params["attn1"], y, y)
    x = x + attention(params["attn2"], layer_norm(params["norm2"], x), CONTEXT)
    value, gate = np.split(dense(params["ff_in"], layer_norm(params["norm3"], x)), 2, axis=-1)
    x = x + dense(params["ff_out"], value * gate * 0.5 * (1 + erf(gate / np.sqrt(2))))
    np.testing.assert_allclose(got, x, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 2, 3, 2, 4)], ids=["image", "volume"])
def test_over_an_image_every_position_attends_to_every_other(shape):
    x = np.random.default_rng(3).standard_normal(shape)
    params, got = drawn(SpatialSelfAttention(head_channels=2, groups=2), x)
    assert got.shape == shape
    flat = x.reshape(shape[0], -1, shape[-1])
    grouped = flat.reshape(*flat.shape[:2], 2, -1)
    spread = np.sqrt(grouped.var((1, 3), keepdims=True) + 1e-6)
    y = ((grouped - grouped.mean((1, 3), keepdims=True)) / spread).reshape(flat.shape)
    y = y * params["norm"]["scale"] + params["norm"]["bias"]
    p = params["attn"]
    y = dense(p["out_proj"], attend(dense(p["to_q"], y), dense(p["to_k"], y), dense(p["to_v"], y), 2))
    np.testing.assert_allclose(got, x + y.reshape(shape), atol=2e-4)


def test_a_new_transformer_adds_nothing_and_dropout_only_acts_in_training():
    x, context = jnp.asarray(np.random.default_rng(4).standard_normal((1, 4, 4, 4)), jnp.float32), jnp.ones((1, 2, 3))
    module = SpatialTransformer(head_channels=2, groups=2, dropout=0.5)
    variables = module.init(jax.random.key(0), x, context)
    np.testing.assert_allclose(module.apply(variables, x, context), x, atol=1e-6)  # proj_out starts at zero
    attention = Attention(heads=1, head_channels=4, dropout=0.5)
    tokens = x.reshape(1, 16, 4)
    variables = attention.init(jax.random.key(0), tokens)
    plain = attention.apply(variables, tokens)
    np.testing.assert_array_equal(attention.apply(variables, tokens), plain)
    dropped = attention.apply(variables, tokens, train=True, rngs={"dropout": jax.random.key(1)})
    assert np.abs(dropped - plain).max() > 1e-3
