"""A config makes a process; its ranges invert; contradicting settings are refused."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.config import base_config
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.errors import InputError


def test_config_makes_a_process_and_ranges_invert():
    process = Process(**base_config().diffusion)
    assert process.table is Process(**base_config().diffusion).table  # so that nothing recompiles
    other = Process(data_range=(-1, 3))
    unit = jnp.linspace(0, 1, 5).reshape(1, 5, 1, 1)
    np.testing.assert_allclose(other.to_network(unit).ravel(), [-1, 0, 1, 2, 3])
    np.testing.assert_allclose(other.to_unit(other.to_network(unit)), unit, atol=1e-6)
    assert float(other.to_unit(jnp.full((1, 1, 1, 1), 9.0)).max()) == 1.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prediction": "epsilon"}, "eps"),
        ({"data_range": (1.0, -1.0)}, "low < high"),
        ({"prediction": "eps", "zero_terminal_snr": True}, "no signal"),
        ({"schedule": "flow", "prediction": "eps"}, "no signal"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(InputError, match=words):
        Process(**settings)
