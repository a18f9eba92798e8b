"""Codecs: pixels are scaled as ever, latents are drawn, scaled, and come back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.diffusion import codec
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.training.step import sample_keys

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.random((3, 8, 6, 1)), jnp.float32)
KEYS = sample_keys(jax.random.key(1), jnp.arange(3))
SCALE = codec.LatentScale(jnp.asarray([0.5, -2.0]), jnp.asarray([2.0, 0.1]))


def moments(weight, images):
    """Pairs of pixels along the columns as two channels."""
    z = weight * images.reshape(*images.shape[:2], -1, 2)
    return z, jnp.full_like(z, -4.0)


def decoder(weight, z):
    return z.reshape(*z.shape[:2], -1, 1) / weight


def latent_codec(**how):
    parts = (jax.tree_util.Partial(f, jnp.float32(3.0)) for f in (moments, decoder))
    return codec.LatentCodec(*parts, SCALE, (8, 3, 2), **how)


@pytest.mark.parametrize("data_range", [(-1.0, 1.0), (0.0, 1.0)])
def test_pixels_are_scaled_as_the_process_says(data_range):
    process = Process(data_range=data_range)
    pixels = codec.PixelCodec(process)
    x = pixels.encode(IMAGES, KEYS)
    np.testing.assert_array_equal(x, process.to_network(IMAGES))
    np.testing.assert_allclose(pixels.decode(x), IMAGES, atol=1e-6)
    assert pixels.latent_shape((8, 6, 1)) == (8, 6, 1)


def test_the_mean_is_standardised_and_comes_back():
    exact = latent_codec(sample=False)
    x = exact.encode(IMAGES, KEYS)
    assert x.shape[1:] == exact.latent_shape((8, 6, 1))
    np.testing.assert_allclose(x, (np.asarray(moments(3.0, IMAGES)[0]) - SCALE.mean) / SCALE.std, rtol=1e-6)
    np.testing.assert_allclose(exact.decode(x), IMAGES, atol=1e-5)
    assert float(exact.decode(x * 100).max()) == 1.0  # clipped
    assert float(exact.decode(x * 100).min()) == 0.0


def test_a_draw_has_the_posterior_s_spread_and_depends_on_its_own_key():
    drawn = latent_codec()
    many = jnp.repeat(IMAGES[:1], 4000, axis=0)
    x = drawn.encode(many, sample_keys(jax.random.key(0), jnp.arange(4000)))
    z = np.asarray(SCALE.restore(x))
    np.testing.assert_allclose(z.std(0), np.exp(-2.0), rtol=0.06)
    np.testing.assert_allclose(z.mean(0), moments(3.0, many[:1])[0][0], atol=0.01)
    np.testing.assert_allclose(drawn.encode(IMAGES[1:2], KEYS[1:2])[0], drawn.encode(IMAGES, KEYS)[1], rtol=1e-6)


def test_a_stored_posterior_gives_what_its_image_gives():
    for sample in (True, False):
        kept = jnp.concatenate(moments(3.0, IMAGES), axis=-1)
        expected = latent_codec(sample=sample).encode(IMAGES, KEYS)
        np.testing.assert_allclose(latent_codec(sample=sample, stored=True).encode(kept, KEYS), expected, rtol=1e-6)


def test_weights_are_arguments():
    exact = latent_codec(sample=False)
    assert len(jax.tree.leaves(exact)) == 4  # two weights, mean, std: nothing is compiled in


def test_the_mean_is_what_is_encoded_without_a_draw() -> None:
    process = Process()
    np.testing.assert_array_equal(codec.PixelCodec(process).mean(IMAGES), process.to_network(IMAGES))
    np.testing.assert_array_equal(latent_codec().mean(IMAGES), latent_codec(sample=False).encode(IMAGES, KEYS))
