"""3D convolution by planes, and its weight gradient by matrix products, against XLA's in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.models import plane_convolution, volume_convolution
from brain_diffusion_jax.models.convolution import convolve
from brain_diffusion_jax.models.plane_convolution import Window
from tests.models.random_weights import cheaply

UNIT = Window((1, 1, 1), ((1, 1),) * 3, (1, 1, 1))
CASES = [  # sizes, kernel, strides, pads, and dilations
    ((4, 5, 3), (3, 3, 3), (1, 1, 1), ((1, 1),) * 3),
    ((5, 4, 7), (3, 3, 3), (2, 2, 2), ((0, 1),) * 3),  # the autoencoder's halving
    ((1, 2, 1), (3, 3, 3), (1, 1, 1), ((1, 1),) * 3),  # the window reaches over everything
    ((5, 6, 4), (4, 4, 4), (2, 2, 2), ((1, 1),) * 3),  # the discriminator's
    ((3, 4, 5), (2, 2, 2), (1, 1, 1), ((1, 1),) * 3),  # folded upsampling
    ((6, 4, 5), (1, 3, 2), (1, 2, 1), ((0, 0), (1, 1), (0, 1))),
    ((6, 5, 4), (3, 3, 3), (1, 1, 1), ((2, 2),) * 3, (2, 2, 2)),  # MedicalNet's last stages
    ((4, 5, 3), (3, 3, 3), (2, 1, 1), ((4, 4),) * 3, (4, 4, 4)),
]


def arrays(sizes, kernel, batch=2, c=3, d=4, dtype=np.float64):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((batch, *sizes, c)), dtype), jnp.asarray(
        rng.standard_normal((*kernel, c, d)), dtype
    )


def results(convolution, x, kernel, how):
    """Output and gradients of a function that weighs every output differently."""

    def loss(x, kernel):
        y = convolution(x, kernel, how)
        return jnp.sum(jnp.sin(y)), y

    return cheaply(jax.grad(loss, (0, 1), has_aux=True), x, kernel)


@pytest.mark.parametrize(("sizes", "kernel", "window"), [(s, k, Window(*(*w, (1, 1, 1))[:3])) for s, k, *w in CASES])
def test_output_and_gradients_are_xlas(monkeypatch, sizes, kernel, window):
    monkeypatch.setattr(plane_convolution, "FEWEST_CHANNELS", 1)
    with jax.enable_x64(True):
        x, weights = arrays(sizes, kernel)
        wanted = results(volume_convolution.whole, x, weights, window)
        found = results(volume_convolution.convolve_volume, x, weights, window)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, wanted)


def test_gradients_of_every_sample_under_vmap(monkeypatch):
    monkeypatch.setattr(plane_convolution, "FEWEST_CHANNELS", 1)
    x, weights = arrays((3, 4, 3), (3, 3, 3), batch=3, dtype=np.float32)

    def each(convolution):
        def one(image):
            def loss(x, k):
                return jnp.sum(jnp.sin(convolution(x, k, UNIT)))

            return jax.grad(loss, (0, 1))(image[None], weights)

        return cheaply(jax.vmap(one), x)

    found, wanted = each(volume_convolution.convolve_volume), each(volume_convolution.whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, wanted)


def test_a_second_derivative_is_xlas():
    with jax.enable_x64(True):
        x, weights = arrays((3, 2, 3), (3, 3, 3), batch=1, c=1, d=1)

        def slope(convolution):
            def inner(x, k):
                return jnp.sum(jnp.sin(convolution(x, k, UNIT)))

            return lambda x, k: jax.grad(lambda k: jnp.sum(jax.grad(inner)(x, k) ** 2))(k)

        found, wanted = (
            cheaply(slope(c), x, weights) for c in (volume_convolution.convolve_volume, volume_convolution.whole)
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_which_convolutions_go_by_planes():
    x, weights = arrays((4, 4, 4), (3, 3, 3), dtype=np.float32)
    numbers = jax.lax.conv_dimension_numbers(x.shape, weights.shape, ("NDHWC", "DHWIO", "NDHWC"))

    def own(strides=(1, 1, 1), padding="SAME", **how) -> bool:
        def call(x, k):
            return convolve(x, k, strides, padding, dimension_numbers=numbers, **how)

        return "custom_vjp" in str(jax.make_jaxpr(call)(x, weights))

    assert own()
    assert own(padding="VALID", strides=(2, 2, 2))
    assert own(rhs_dilation=(2, 2, 2))
    assert not own(lhs_dilation=(2, 2, 2), padding=[(1, 1)] * 3)
    assert not own(padding=[(-1, 3)] * 3)
    assert not own(precision="highest")


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_named_padding_counts_the_dilation(padding):
    x, weights = arrays((6, 7, 5), (3, 3, 3), dtype=np.float32)
    how = dict(dimension_numbers=("NDHWC", "DHWIO", "NDHWC"), rhs_dilation=(2, 2, 2))
    found, wanted = (
        cheaply(lambda x, k, c=c: c(x, k, (1, 2, 1), padding, **how), x, weights)
        for c in (convolve, jax.lax.conv_general_dilated)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)
