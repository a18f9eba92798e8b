from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.models.layers import coordinate_features
from brain_diffusion_jax.models.unet import UNet
from brain_diffusion_jax.models.unet_config import UNetConfig


def test_every_place_has_features_of_its_own():
    found = np.asarray(coordinate_features((5, 7), 3))
    assert found.shape == (1, 5, 7, 12)
    flat = found.reshape(35, -1)
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert distance[~np.eye(35, dtype=bool)].min() > 0.1
    assert np.abs(found).max() <= 1 + 1e-6


def test_coordinates_let_a_network_tell_places_apart():
    """Far from the borders a convolution sees the same everywhere, unless it is told where it is."""
    shape = {"channels": (8,), "num_res_blocks": (1,), "attention_levels": (False,), "num_head_channels": (8,)}
    x, t = jnp.zeros((1, 40, 40, 1)), jnp.zeros(1)

    def middle(coordinates: int) -> np.ndarray:
        module = UNet(UNetConfig(**shape, context_dim=None, norm_num_groups=4, coordinates=coordinates))
        params = module.init(jax.random.key(0), x, t)["params"]
        params["conv_out"] = jax.tree.map(lambda p: jax.random.normal(jax.random.key(1), p.shape), params["conv_out"])
        return np.asarray(module.apply({"params": params}, x, t))[0, 18:22, 18:22, 0]

    assert np.ptp(middle(0)) < 1e-4
    assert np.ptp(middle(2)) > 1e-3
