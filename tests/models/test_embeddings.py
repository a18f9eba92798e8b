"""Embeddings of time and of numbers: distinct, bounded, smooth beyond the domain."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.models import embeddings


def test_time_embedding_tells_times_apart_and_is_bounded() -> None:
    embedding = embeddings.timestep_embedding(jnp.arange(1000), 64)
    assert embedding.dtype == jnp.float32
    assert jnp.abs(embedding).max() <= 1.0
    np.testing.assert_allclose(embedding[0], [1.0] * 32 + [0.0] * 32)  # cosines first
    distances = jnp.linalg.norm(embedding[1:] - embedding[:-1], axis=-1)
    assert distances.min() > 0.5
    assert embeddings.timestep_embedding(jnp.array([7.0]), 5)[0, -1] == 0  # an odd width ends in zero


def test_fourier_features_go_on_beyond_the_domain() -> None:
    """No jump at the ends of [0, 1], and neighbouring slices (1/90 apart) differ."""
    features = jax.vmap(lambda v: embeddings.fourier_features(v[None])[0])(jnp.linspace(-0.05, 1.05, 100))
    steps = jnp.linalg.norm(features[1:] - features[:-1], axis=-1)
    assert steps.max() < 2.5
    assert steps.min() > 0.5
