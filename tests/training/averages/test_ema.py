"""Exponents of power-function averages."""

from __future__ import annotations

import pytest

from brain_diffusion_jax.training.averages import ema


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2])
def test_exponent_of_a_relative_width(sigma):
    g = ema.power_exponent(sigma)
    assert (g + 1) / ((g + 2) ** 2 * (g + 3)) == pytest.approx(sigma**2)
