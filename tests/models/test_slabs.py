"""An image decoded in slabs is the image decoded whole; what looks at whole images is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig
from brain_diffusion_jax.models.slabs import decode_slabs, slab_counts
from tests.models.random_weights import cheaply, randomised

SMALL = dict(channels=(4, 6), latent_channels=2, num_res_blocks=1, attention_levels=False)
SLICES = AutoencoderConfig(**{**SMALL, "num_res_blocks": 2})
CASES = {
    "slices": (SLICES, (37, 6)),
    "volumes": (AutoencoderConfig(**SMALL), (38, 5, 4)),
    "one level": (AutoencoderConfig(**{**SMALL, "channels": (4,)}), (27, 6)),
    "attention far from the pixels": (
        AutoencoderConfig(**{**SMALL, "attention_levels": (False, True)}, decoder_attention=True),
        (40, 4),
    ),
}


def made(config: AutoencoderConfig, sizes: tuple[int, ...]):
    """(network, random parameters, a latent)."""
    module = Autoencoder(config, len(sizes))
    params = randomised(module, jnp.zeros((1, *sizes, 1)))["params"]
    return module, params, jax.random.normal(jax.random.key(0), (2, *config.latent_shape((*sizes, 1))))


@pytest.mark.parametrize("name", CASES)
def test_slabs_equal_the_whole(name):
    config, sizes = CASES[name]
    module, params, z = made(config, sizes)
    counts = [1, 3, slab_counts(config, sizes[0])[-1]]  # 3: the last slab overlaps the one before

    def decoded(params, z):
        return [decode_slabs(module, params, z, sizes, slabs) for slabs in counts]

    whole, *parts = cheaply(decoded, params, z)
    assert whole.shape == (2, *sizes, 1)
    assert counts[-1] > 8
    for part in parts:
        np.testing.assert_allclose(part, whole, atol=1e-5 * float(jnp.abs(whole).max()))


def test_the_radius_is_what_a_pixel_depends_on():
    """A change beyond the radius leaves a pixel as it is; one at the radius moves it."""
    config, sizes = CASES["slices"]
    module, params, _ = made(config, sizes)
    middle, radius, factor = 8, config.fine_radius, config.fine_factor
    x = jax.random.normal(jax.random.key(1), (17, 3, config.channels[1]))
    moves = {distance: x.at[middle + distance].add(1.0) for distance in (0, radius, -radius, radius + 1, -radius - 1)}

    def fine(params, x):
        return module.apply({"params": params}, x, method="fine")

    images = cheaply(fine, params, jnp.stack([x, *moves.values()]))[:, middle * factor : (middle + 1) * factor]
    moved = dict(zip(moves, np.abs(images[1:] - images[0]).max((1, 2, 3)), strict=True))
    assert max(moved[radius], moved[-radius]) > 1e-4 * moved[0] > 0
    assert moved[radius + 1] == moved[-radius - 1] == 0.0


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"norm_num_groups": 2}, "norm_num_groups=2"), ({"attention_levels": (True, False)}, "attention_levels=")],
)
def test_what_sees_whole_images_is_refused(settings, named):
    config = AutoencoderConfig(**{**SMALL, **settings})
    assert slab_counts(config, 16) == [1]
    with pytest.raises(ValueError, match=named):
        decode_slabs(Autoencoder(config), {}, jnp.zeros((1, 4, 2, 2)), (16, 8), 2)
