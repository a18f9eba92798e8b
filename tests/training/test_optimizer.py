"""Optimizers and learning rates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training import optimizer as optimizers

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_every_optimizer_goes_downhill(name):
    now, do = tiny.quadratic(name=name, rate=0.02)
    batch = {"target": jnp.full((1, 4), 1.0)}
    now, first = do(now, batch, KEY)
    for _ in range(20):
        now, last = do(now, batch, KEY)
    assert last["loss"] < 0.95 * first["loss"]


def test_learning_rates():
    def rates(**options):
        settings = optimizers.OptimizerSettings(learning_rate=1.0, warmup_steps=10, **options)
        return np.array([optimizers.learning_rate(settings, 100)(i) for i in range(101)])

    cosine, constant = rates(end_fraction=0.1), rates(schedule="constant")
    assert cosine[0] == pytest.approx(0.1)
    assert cosine[10] == pytest.approx(1.0)
    assert cosine[100] == pytest.approx(0.1)
    assert np.all(np.diff(cosine[10:]) < 0)
    assert np.all(np.diff(cosine[:11]) > 0)
    np.testing.assert_allclose(constant[10:], 1.0)
    for wrong in (dict(name="adamm"), dict(schedule="cosin"), dict(learning_rate=0.0)):
        with pytest.raises(InputError, match=r"optimizer\."):
            optimizers.OptimizerSettings(**wrong)
