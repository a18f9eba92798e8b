"""Masks of dropout belong to samples: a network of every lifted kind, as a whole batch and in parts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.models.unet import UNet
from brain_diffusion_jax.models.unet_config import UNetConfig
from brain_diffusion_jax.training.step import dropout_by_sample, gradients

NETWORK = dict(channels=(8,), num_res_blocks=(1,), attention_levels=(True,), num_head_channels=(8,), norm_num_groups=4)


@pytest.mark.parametrize("lifted", [{}, {"remat": "blocks"}, {"scan_blocks": True, "transformer_num_layers": 2}])
def test_a_sample_keeps_its_masks_in_any_batch(lifted):
    network = UNet(UNetConfig(**NETWORK, context_dim=4, dropout_cattn=0.4, **lifted))
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.standard_normal((4, 4, 4, 1)), jnp.float32),
        "context": jnp.asarray(rng.standard_normal((4, 2, 4)), jnp.float32),
        "index": jnp.arange(4),
    }
    variables = jax.jit(network.init)(jax.random.key(0), batch["image"], jnp.ones(4), batch["context"])
    # Zero at first, and then no mask would show.
    params = jax.tree.map(lambda leaf: leaf + 0.1, variables["params"])

    def loss(params, model_state, batch, key, update):
        with dropout_by_sample(batch["index"]):
            y = network.apply(
                {"params": params},
                batch["image"],
                jnp.ones(len(batch["index"])),
                batch["context"],
                train=True,
                rngs={"dropout": key},
            )
        return jnp.mean(y**2), ({}, model_state)

    def run(parts: int):
        return jax.jit(lambda key: gradients(loss, parts)(params, {}, batch, key, 0)[1]["loss"])

    whole, in_parts = run(1), run(2)
    first = whole(jax.random.key(0))
    np.testing.assert_allclose(first, in_parts(jax.random.key(0)), rtol=1e-5)
    assert abs(first - whole(jax.random.key(1))) > 1e-3 * first  # another key, other masks
