"""The autoencoder: sizes, the distribution of the latent, padding, precision and memory; sizes of published ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.models.autoencoder import LOG_VARIANCE_BOUNDS, Autoencoder, _Level, is_key
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig
from brain_diffusion_jax.models.layers import average_halves, upsample_nearest
from tests.live_memory import peak_bytes
from tests.models.random_weights import cheaply, randomised

TINY = dict(channels=(4, 8), num_res_blocks=1, attention_levels=(False, True), latent_channels=3, norm_num_groups=2)
PUBLISHED = dict(layout="monai", channels=(64, 128, 128, 128), num_res_blocks=2, attention_levels=False)


def network(dims: int = 2, image_channels: int = 1, **settings) -> Autoencoder:
    return Autoencoder(AutoencoderConfig(**{**TINY, **settings}), dims, image_channels)


def image(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, shape), jnp.float32)


def run(module: Autoencoder, params, *inputs, method: str = "__call__", static=()):
    return cheaply(lambda p, *a: module.apply(p, *a, *static, method=method), params, *inputs)


@pytest.mark.parametrize(
    ("dims", "shape", "settings"),
    [
        (2, (2, 8, 12, 1), {}),
        (2, (1, 9, 7, 3), {"layout": "monai", "decoder_attention": True}),
        (3, (1, 5, 8, 7, 2), {}),
        (3, (1, 3, 4, 5, 1), {"layout": "monai", "encoder_attention": True, "attention_levels": False}),
    ],
)
def test_any_size_comes_back_and_the_latent_has_the_shape_told(dims, shape, settings):
    module, x = network(dims, shape[-1], **settings), image(*shape)
    params = randomised(module, x)
    reconstruction, mean, log_variance = run(module, params, x)
    assert reconstruction.shape == x.shape
    assert mean.shape == log_variance.shape == (shape[0], *module.config.latent_shape(shape[1:]))
    decoded = run(module, params, mean, method="decode", static=(shape[1:-1],))
    assert decoded.shape == shape
    np.testing.assert_allclose(decoded, reconstruction, atol=1e-5)
    assert np.std(reconstruction) > 0.01
    assert {a.dtype for a in (reconstruction, mean, log_variance)} == {jnp.dtype("float32")}


def test_a_padded_image_is_cut_from_where_it_was_put():
    """Encoding an odd size is encoding its edge-padded picture; decoding cuts the same rows."""
    module, x = network(), image(1, 9, 7, 1)
    params = randomised(module, x)
    padded = jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="edge")
    mean, _ = run(module, params, x, method="encode")
    np.testing.assert_allclose(mean, run(module, params, padded, method="encode")[0], atol=1e-5)
    whole = run(module, params, mean, method="decode")
    assert whole.shape == padded.shape
    np.testing.assert_allclose(run(module, params, mean, method="decode", static=((9, 7),)), whole[:, 1:10, :7])


def test_draws_follow_mean_and_variance():
    module, x = network(), image(2, 8, 8, 1)
    params = randomised(module, x)
    still, mean, log_variance = run(module, params, x)
    noise = jax.random.normal(jax.random.key(3), mean.shape)
    drawn = run(module, params, x, noise)[0]
    z = mean + jnp.sqrt(jnp.exp(log_variance)) * noise
    np.testing.assert_allclose(drawn, run(module, params, z, method="decode"), atol=1e-5)
    np.testing.assert_allclose(run(module, params, x, jax.random.key(3))[0], drawn, atol=1e-5)
    assert np.abs(drawn - still).max() > 0.01
    assert is_key(jax.random.key(0))
    assert not is_key(noise)


def test_the_log_variance_is_bounded_and_begins_small():
    module, x = network(), image(1, 8, 8, 1)
    params = cheaply(module.init, jax.random.key(0), x)
    np.testing.assert_array_equal(run(module, params, x, method="encode")[1], -4.0)
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    kernel = params["params"]["to_log_variance"]["kernel"]
    params["params"]["to_log_variance"]["kernel"] = jnp.ones_like(kernel) * 1e4
    low, high = LOG_VARIANCE_BOUNDS
    found = run(module, params, x, method="encode")[1]
    assert float(found.min()) == low
    assert float(found.max()) == high


def test_sixteen_bits_keep_norms_and_the_latent_in_full():
    x = image(1, 8, 8, 1)
    params = randomised(network(), x)
    full, half = (run(network(dtype=d), params, x) for d in ("float32", "bfloat16"))
    assert {a.dtype for a in half} == {jnp.dtype("float32")}
    scale = np.abs(full[0]).max()
    assert 0 < np.abs(full[0] - half[0]).max() < 0.1 * scale


def test_recomputed_blocks_keep_less_and_change_nothing():
    """The backward pass holds what jax.vjp closes over."""
    x = image(1, 8, 8, 1)
    plain, remat = (
        network(channels=(4,), num_res_blocks=2, attention_levels=False, remat=r) for r in ("none", "blocks")
    )
    params = randomised(plain, x)
    assert jax.tree.structure(params) == jax.tree.structure(randomised(remat, x))

    def loss(module):
        return lambda p: jnp.sum(jnp.sin(module.apply(p, x)[0]))

    held = [jax.eval_shape(lambda p, m=m: jax.vjp(loss(m), p)[1], params) for m in (plain, remat)]
    kept = [sum(a.size for a in jax.tree.leaves(h)) - sum(a.size for a in jax.tree.leaves(params)) for h in held]
    assert kept[1] < 0.6 * kept[0]
    grads = [cheaply(jax.grad(loss(m)), params) for m in (plain, remat)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), *grads)


def middle_of_crop_and_whole(**settings):
    """Pixels in the middle of a decoded image, and the same ones decoded from the latent without its rim."""
    module, z = network(attention_levels=False, **settings), image(1, 20, 20, 3)
    params = randomised(module, jnp.zeros((1, 32, 32, 1)))
    whole, part = (run(module, params, latent, method="decode") for latent in (z, z[:, 2:18, 2:18]))
    return whole[:, 39:41, 39:41], part[:, 31:33, 31:33]


def test_a_crop_is_decoded_as_the_whole_is_without_group_norms():
    whole, part = middle_of_crop_and_whole(norm_num_groups=0)
    np.testing.assert_allclose(part, whole, atol=1e-5)
    whole, part = middle_of_crop_and_whole(norm_num_groups=2)
    assert np.abs(part - whole).max() > 1e-2


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("then", ["down", "up"])
def test_a_change_of_resolution_adds_to_the_mean_or_the_nearest_pixel(dims, then):
    x = image(1, *(4,) * dims, 4)
    for layout, beside in (("patched", True), ("monai", False)):
        level = _Level(4, 0, False, then, AutoencoderConfig(layout=layout, norm_num_groups=2))
        params = jax.tree.map(jnp.zeros_like, cheaply(level.init, jax.random.key(0), x))
        wanted = (average_halves if then == "down" else upsample_nearest)(x) * beside
        np.testing.assert_allclose(cheaply(level.apply, params, x), wanted, atol=1e-6)


def test_what_does_not_fit_is_refused():
    module, x = network(), image(1, 8, 8, 1)
    params = randomised(module, x)
    with pytest.raises(ValueError, match=r"expected \[batch, 2 spatial axes, 1\]"):
        jax.eval_shape(module.apply, params, image(1, 8, 8, 8, 1))
    with pytest.raises(ValueError, match=r"z has shape .* 2 spatial axes, 3"):
        module.apply(params, image(1, 2, 2, 4), method="decode")
    with pytest.raises(ValueError, match=r"\(2, 2, 3\)\] for \(8, 7\)"):
        module.apply(params, image(1, 3, 2, 3), (8, 7), method="decode")


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        (dict(**PUBLISHED, latent_channels=3, norm_num_groups=32), 13.766248),
        (dict(channels=(128, 128, 128), num_res_blocks=2, norm_num_groups=8), 12.507624),
        (dict(norm_num_groups=8), 2.968968),
    ],
)
def test_sizes_of_known_volume_networks(settings, millions):
    module = Autoencoder(AutoencoderConfig(**settings), 3, 1)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 8, 8, 8, 1)))
    assert sum(a.size for a in jax.tree.leaves(shapes)) == round(millions * 1e6)


def test_live_memory_counts_what_is_live_at_once():
    def chain(x):
        for _ in range(5):
            x = jnp.cumsum(jnp.sin(x) + 1)  # sin is an array, + 1 of it is none until cumsum reads it
        return x.sum()

    x = jnp.zeros(1000)
    assert peak_bytes(chain, x) == 3 * 4000
    assert peak_bytes(lambda x: jnp.sum(jnp.square(x - x.mean())), x) < 100  # all of it is fused into sums


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["monai", "patched"])
def test_decoding_a_published_volume_takes_less_than_8_gib(layout):
    """160x224x160 in bfloat16: live arrays of the forward pass, elementwise work fused; 13.77 M parameters."""
    own = {"norm_num_groups": 32, "latent_channels": 3} if layout == "monai" else {"latent_channels": 8}
    width = (64, 128, 128, 128) if layout == "monai" else (128, 128, 128)
    config = AutoencoderConfig(layout, width, 2, False, dtype="bfloat16", **own)
    module, sizes = Autoencoder(config, 3), (160, 224, 160)
    key = jax.eval_shape(lambda: jax.random.key(0))
    z = jax.ShapeDtypeStruct((1, *config.latent_shape((*sizes, 1))), jnp.float32)
    variables = jax.eval_shape(module.init, key, jax.ShapeDtypeStruct((1, *sizes, 1), jnp.float32))
    found = peak_bytes(lambda v, z: module.apply(v, z, sizes, method="decode"), variables, z)
    assert 2**30 / 2 < found < 8 * 2**30
