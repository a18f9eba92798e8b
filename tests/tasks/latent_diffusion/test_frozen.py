"""Decoding within a stated memory: whole where it fits, else in slabs, else refused by what would fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.autoencoder.config import RangedAutoencoder
from brain_diffusion_jax.tasks.latent_diffusion.config import CodecSettings
from brain_diffusion_jax.tasks.latent_diffusion.frozen import Frozen, decode, decode_memory, within_memory
from tests.models.random_weights import randomised

SMALL = dict(channels=(8, 8), num_res_blocks=1, attention_levels=False, latent_channels=2)
SIZE = (64, 128)


@pytest.fixture(scope="module")
def network():
    """(frozen autoencoder, its collection, GiB that the compiler plans whole)."""
    frozen = Frozen(RangedAutoencoder(**SMALL), SIZE)
    params = randomised(frozen.module, jnp.zeros((1, *SIZE, 1)))["params"]
    state = {"autoencoder": params, "mean": np.zeros(2), "std": np.ones(2)}
    return frozen, state, decode_memory(frozen.codec(state)) / 2**30


def slabs_of(codec) -> int:
    return codec.decoder.func.slabs


def test_the_fewest_slabs_that_fit(network):
    frozen, state, whole = network
    assert slabs_of(within_memory(frozen, state, 0.0)) == 1
    assert slabs_of(within_memory(frozen, state, whole)) == 1
    codec = within_memory(frozen, state, 0.99 * whole)
    assert slabs_of(codec) > 1
    x = jax.random.normal(jax.random.key(0), (1, *codec.shape))
    plan = decode.lower(codec, x).compile().memory_analysis()
    total = plan.temp_size_in_bytes + plan.output_size_in_bytes + plan.argument_size_in_bytes
    assert total / 2**30 <= 0.99 * whole
    np.testing.assert_allclose(decode(codec, x), decode(frozen.codec(state), x), atol=1e-5)


def test_a_limit_that_nothing_fits_into_says_what_would(network):
    frozen, state, whole = network
    with pytest.raises(InputError, match=r"codec\.memory_gib.*or more, in \d+ slabs; whole") as raised:
        within_memory(frozen, state, 1e-9)
    least = float(raised.value.expected.split()[0])
    assert least < whole
    assert slabs_of(within_memory(frozen, state, least)) > 1  # what is said to fit does


def test_networks_that_look_at_whole_images_are_whole_or_refused(network):
    _, state, _ = network
    frozen = Frozen(RangedAutoencoder(**SMALL, norm_num_groups=4), SIZE)
    state = {**state, "autoencoder": randomised(frozen.module, jnp.zeros((1, *SIZE, 1)))["params"]}
    assert slabs_of(within_memory(frozen, state, 1.0)) == 1
    with pytest.raises(InputError, match="norm_num_groups=4 looks at whole images"):
        within_memory(frozen, state, 1e-9)


@pytest.mark.parametrize("gib", [-1.0, float("nan"), float("inf")])
def test_limits_that_mean_nothing(gib):
    with pytest.raises(InputError, match="memory_gib"):
        CodecSettings(memory_gib=gib)
