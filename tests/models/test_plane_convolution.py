"""Gradients of convolutions over two axes against XLA's, in float64."""

from __future__ import annotations

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.models import convolution, layers, plane_convolution
from brain_diffusion_jax.models.unet import UNet
from brain_diffusion_jax.models.unet_config import UNetConfig


def gradients(module: nn.Module, params, x: jax.Array):
    """Of a function that weighs every output differently: kernel, bias and input."""
    return jax.jit(jax.grad(lambda params, x: jnp.sum(jnp.sin(module.apply(params, x))), (0, 1)))(params, x)


def takes_own_way(function, *arguments) -> bool:
    return "optimization_barrier" in str(jax.make_jaxpr(function)(*arguments))


@pytest.mark.parametrize(
    ("sizes", "kernel"),
    [
        ((5, 7), (3, 3)),
        ((6, 4), (5, 3)),
        ((8, 6), (1, 3)),
        ((2, 2), (5, 5)),  # the window reaches over the whole picture
        ((1, 1), (3, 5)),
    ],
)
def test_gradients_are_those_of_flax(monkeypatch, sizes, kernel):
    monkeypatch.setattr(plane_convolution, "FEWEST_CHANNELS", 1)
    plain = nn.Conv(6, kernel, padding=[(s // 2, s // 2) for s in kernel], param_dtype=jnp.float64)
    ours = nn.Conv(6, kernel, param_dtype=jnp.float64, conv_general_dilated=convolution.convolve)  # padding "SAME"
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((2, *sizes, 4)))
        params = plain.init(jax.random.key(0), x)
        assert takes_own_way(lambda p: gradients(ours, p, x), params)
        assert not takes_own_way(lambda p: gradients(plain, p, x), params)
        wanted, found = gradients(plain, params, x), gradients(ours, params, x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, wanted)


def test_the_switch():
    def own(**how) -> bool:
        module = layers.conv(8, 2, "c", **how)
        x = jnp.zeros((1, 4, 4, 8))
        return takes_own_way(lambda p: gradients(module, p, x), module.init(jax.random.key(0), x))

    assert own()
    assert not own(fast_gradient=False)


@pytest.mark.parametrize(
    "how",
    [
        {"strides": 2},
        {"strides": (2, 1), "padding": ((0, 1), (0, 1))},
        {"strides": 2, "kernel_size": (4, 4), "padding": 1},
        {"kernel_dilation": 2},
        {"padding": "VALID"},
        {"kernel_size": (2, 2)},
        {"kernel_size": (2, 2), "padding": 1},
        {"kernel_size": (2, 4), "padding": ((0, 2), (3, 1))},
        {"kernel_size": (1, 1), "strides": 3},
        {"kernel_size": (5, 4), "padding": "VALID", "strides": 3},
    ],
)
@pytest.mark.parametrize("sizes", [(6, 7), (9, 6)])
@pytest.mark.parametrize("wide", [True, False])
def test_windows_of_every_kind(monkeypatch, how, sizes, wide):
    monkeypatch.setattr(plane_convolution, "FEWEST_CHANNELS", 1 if wide else 100)
    how = {"features": 6, "kernel_size": (3, 3), **how}
    plain = nn.Conv(**how, param_dtype=jnp.float64)
    ours = nn.Conv(**how, param_dtype=jnp.float64, conv_general_dilated=convolution.convolve)
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((2, *sizes, 4)))
        params = plain.init(jax.random.key(0), x)
        assert takes_own_way(lambda p: gradients(ours, p, x), params)
        wanted, found = gradients(plain, params, x), gradients(ours, params, x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, wanted)


@pytest.mark.parametrize(
    "how", [{"input_dilation": 2, "padding": 1}, {"feature_group_count": 2}, {"precision": "highest"}]
)
def test_other_convolutions_stay_as_they_were(how):
    how = {"features": 6, "kernel_size": (3, 3), **how}
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 7, 4)), jnp.float32)
    params = nn.Conv(**how).init(jax.random.key(0), x)
    ours = nn.Conv(**how, conv_general_dilated=convolution.convolve)
    assert not takes_own_way(lambda p: gradients(ours, p, x), params)
    jax.tree.map(np.testing.assert_array_equal, gradients(ours, params, x), gradients(nn.Conv(**how), params, x))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("how", [{}, {"stride": 2, "padding": (0, 1)}, {"kernel": 2}])
def test_every_gradient_has_the_order_of_axes_that_the_cpu_is_fast_in(dims, how):
    """Inside a branch or a scan XLA's CPU code is 10 to 30 times as slow with any other."""
    module = layers.conv(4, dims, "c", fast_gradient=True, **how)
    x = jnp.zeros((2, *(6,) * dims, 4))
    params = module.init(jax.random.key(0), x)

    def loss(params, x):
        return jax.lax.cond(x.sum() > 0, lambda: jnp.sum(jnp.sin(module.apply(params, x))), lambda: 0.0)

    program = jax.jit(jax.grad(loss, (0, 1))).lower(params, x).as_text()
    layouts = set(re.findall(r"dim_numbers = (\S+?x\[\S*?\]->\[\S*?\])", program.replace(", ", ",")))
    assert layouts, "no convolution was found"
    for layout in layouts:
        left, kernel, right = re.fullmatch(r"\[(\S*)\]x\[(\S*)\]->\[(\S*)\]", layout).groups()
        axes = ",".join(str(i) for i in range(len(left.split(",")) - 2))
        assert (left, kernel, right) == (f"b,{axes},f", f"{axes},i,o", f"b,{axes},f"), layout


def test_gradient_of_every_sample_under_vmap(monkeypatch):
    monkeypatch.setattr(plane_convolution, "FEWEST_CHANNELS", 1)
    ours, plain = (layers.conv(6, 2, "c", fast_gradient=fast) for fast in (True, False))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 5, 4, 4)), jnp.float32)
    params = plain.init(jax.random.key(0), x)

    def each(module):
        return jax.vmap(lambda one: gradients(module, params, one[None]))(x)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), each(ours), each(plain))


@pytest.mark.parametrize("shape", [(2, 5, 4, 6), (2, 3, 5, 4, 6)])
def test_convolution_of_size_one(shape):
    ours, plain = (layers.conv(3, len(shape) - 2, "c", kernel=1, fast_gradient=fast) for fast in (True, False))
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    params = plain.init(jax.random.key(0), x)
    wanted, found = gradients(plain, params, x), gradients(ours, params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, wanted)


def test_a_network_without_the_fast_gradient_can_be_differentiated_forwards():
    small = dict(channels=(8,), num_res_blocks=(1,), attention_levels=(False,), num_head_channels=(8,))
    x, t = jnp.ones((1, 4, 4, 1)), jnp.ones(1)

    def slope(fast: bool):
        net = UNet(UNetConfig(**small, context_dim=None, norm_num_groups=4, fast_conv_gradient=fast))
        params = net.init(jax.random.key(0), x, t)
        return jax.jvp(lambda x: net.apply(params, x, t), (x,), (x,))[1]

    assert slope(False).shape == x.shape
    with pytest.raises(TypeError, match="forward-mode"):
        slope(True)
