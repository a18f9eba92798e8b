"""Averages of any length from snapshots."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.averages import ema, power_ema
from brain_diffusion_jax.training.run_folder.store import Store


def test_power_averages_of_any_length_are_reconstructed(tmp_path):
    # Weights that wander; averages of two lengths are stored, a third is rebuilt and compared with the truth.
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.standard_normal((400, 5)), axis=0) / 20 + np.linspace(0, 3, 400)[:, None]
    widths = (0.05, 0.1, 0.07, 0.15)
    averages = {w: {"w": path[0] * 0} for w in widths}
    store = Store(tmp_path)
    decays = {w: np.asarray(ema.power_decay(jnp.arange(400), ema.power_exponent(w)), np.float64) for w in widths}
    for t in range(400):
        for w in widths:
            averages[w] = {"w": averages[w]["w"] + (1 - decays[w][t]) * (path[t] - averages[w]["w"])}
        if (t + 1) % 50 == 0:
            kept = {f"{w:g}": jax.tree.map(np.float32, averages[w]) for w in (0.05, 0.1)}
            store.snapshot(t + 1, kept)
    store.wait()
    store.close()
    spread = np.abs(averages[0.05]["w"] - averages[0.1]["w"]).max()
    for wanted in (0.05, 0.07, 0.1):
        error = np.abs(power_ema.reconstruct(tmp_path, wanted)["w"] - averages[wanted]["w"]).max()
        assert error < 0.02 * spread, wanted
    with pytest.raises(InputError, match="1 to 400"):
        power_ema.reconstruct(tmp_path, 0.1, step=401)
    (path,) = (tmp_path / "snapshots" / "400" / "sigma_0.1").glob("d/*")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="snapshot: found damaged"):
        power_ema.reconstruct(tmp_path, 0.1)
    with pytest.raises(InputError, match="snapshots: found none"):
        power_ema.reconstruct(tmp_path / "none", 0.1)


def test_a_profile_is_its_own_best_approximation():
    steps, widths = np.array([100.0, 200, 300]), np.array([3.0, 5.0, 8.0])
    np.testing.assert_allclose(power_ema.coefficients(steps, widths, 200, 5.0), [0, 1, 0], atol=1e-6)
    # A profile integrates to 1 against the constant profile's density: p_0 = 1/t for exponent 0.
    ones = power_ema.inner_products(steps, widths, np.array([300.0] * 3), np.zeros(3))
    np.testing.assert_allclose(ones[:, 0], 1 / 300)
