"""Operations counted from a program, against numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brain_diffusion_jax.models.layers import conv
from brain_diffusion_jax.training.devices import flops

X, W = jnp.zeros((5, 7)), jnp.zeros((7, 7))
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def test_a_matrix_product_is_two_operations_a_term_and_a_loop_counts_every_turn() -> None:
    once = 2 * 5 * 7 * 7
    assert flops.count(jax.make_jaxpr(jnp.dot)(X, W)) == once
    assert flops.count(jax.make_jaxpr(jax.jit(lambda x: x @ W + 1.0))(X)) == once
    turns = jax.make_jaxpr(lambda x: jax.lax.scan(lambda c, _: (c @ W, None), x, length=4)[0])(X)
    assert flops.count(turns) == 4 * once
    either = jax.make_jaxpr(lambda x: jax.lax.cond(x[0, 0] > 0, lambda y: y @ W @ W, lambda y: y, x))(X)
    assert flops.count(either) == 2 * once


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2)])
def test_a_convolution_counts_its_kernel_at_every_output(stride: int, groups: int) -> None:
    x, kernel = jnp.zeros((2, 8, 6, 4)), jnp.zeros((3, 3, 4 // groups, 10))

    def convolve(x: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=DIMENSIONS, feature_group_count=groups
        )

    outputs = 2 * (8 // stride) * (6 // stride) * 10
    assert flops.count(jax.make_jaxpr(convolve)(x)) == 2 * outputs * 9 * 4 // groups


def test_the_gradient_of_a_strided_convolution_counts_no_holes() -> None:
    x, kernel = jnp.zeros((1, 8, 8, 2)), jnp.zeros((2, 2, 2, 3))

    def total(x: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=DIMENSIONS).sum()

    forward = flops.count(jax.make_jaxpr(total)(x))
    assert flops.count(jax.make_jaxpr(jax.value_and_grad(total))(x)) == pytest.approx(2 * forward)


@pytest.mark.parametrize("axes", [2, 3])
def test_gradients_of_the_library_s_convolutions_count_no_second_forward_pass(axes: int) -> None:
    layer = conv(6, axes, "any")
    x = jnp.zeros((1, *(5, 4, 6)[:axes], 4))
    params = layer.init(jax.random.key(0), x)
    forward = flops.count(jax.make_jaxpr(layer.apply)(params, x))
    gradients = jax.make_jaxpr(jax.grad(lambda *both: layer.apply(*both).sum(), argnums=(0, 1)))(params, x)
    assert forward > 0
    assert flops.count(gradients) == pytest.approx(
        2 * forward, rel=0.35
    )  # the windows of gradients reach over the edge


def test_a_device_is_known_by_its_name() -> None:
    assert flops.peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert flops.peak_flops("TPU v5 lite") == 197e12
    assert flops.peak_flops("cpu") == 0.0
