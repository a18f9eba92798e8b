"""KL of Gaussian posteriors, against torch and against the numbers it must be."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.losses import kl


@pytest.mark.parity
def test_it_is_that_of_torch_distributions():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    mean, log_variance = rng.normal(size=(3, 4, 5, 2)), 2 * rng.normal(size=(3, 4, 5, 2))
    posterior = torch.distributions.Normal(torch.tensor(mean), torch.tensor(np.exp(log_variance / 2)))
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).numpy()
    np.testing.assert_allclose(kl.kl_map(jnp.asarray(mean), jnp.asarray(log_variance)), expected, rtol=2e-5)
    np.testing.assert_allclose(kl.kl(jnp.asarray(mean), jnp.asarray(log_variance)), expected.sum((1, 2, 3)), rtol=1e-5)


def test_it_is_0_for_the_prior_and_exact_beside_it():
    assert float(kl.kl(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1)))[0]) == 0.0
    small = jnp.full((1, 1, 1, 1), 1e-3, jnp.float32)
    expected = 0.5 * (np.expm1(1e-3) - 1e-3)  # 2.5e-7: float32 without expm1 has no digit of it
    np.testing.assert_allclose(kl.kl(0 * small, small), expected, rtol=1e-3)
