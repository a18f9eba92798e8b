"""Schedules: finite and monotone at both ends, with the published values; bad input of schedules and spacings."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.array_types import Level
from brain_diffusion_jax.diffusion import levels, schedules
from brain_diffusion_jax.errors import InputError


@pytest.mark.parametrize("name", schedules.names())
@pytest.mark.parametrize("steps", [2, 50, 1000])
def test_every_schedule_is_finite_and_monotone_at_both_ends(name, steps):
    schedule = schedules.make(name, steps)
    level = schedule.level(np.arange(steps))
    for table in level:
        assert table.dtype == np.float64
        assert np.all(np.isfinite(table))
    assert np.all(np.diff(level.sigma / np.maximum(level.alpha, 1e-300)) > 0)
    assert np.all(level.alpha >= 0)
    assert np.all(level.sigma >= 0)
    if name not in ("flow", "edm"):
        np.testing.assert_allclose(level.alpha**2 + level.sigma**2, 1, atol=1e-12)
    clean = schedule.level(-1)
    assert (clean.alpha, clean.sigma) == (1.0, 0.0)


def test_published_values():
    betas = np.linspace(1e-4, 2e-2, 1000)
    np.testing.assert_allclose(schedules.linear().alpha_bar, np.cumprod(1 - betas), rtol=1e-12)
    np.testing.assert_allclose(schedules.linear().alpha_bar[-1], 4.0358e-5, rtol=1e-4)
    curve = (
        np.cos((np.arange(1, 1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    )
    np.testing.assert_allclose(schedules.cosine().alpha_bar[:-1], curve[:-1], rtol=1e-9)
    # the cap on beta acts on the last level alone
    np.testing.assert_allclose(schedules.cosine().alpha_bar[-1] / schedules.cosine().alpha_bar[-2], 1e-3, rtol=1e-9)
    np.testing.assert_allclose(schedules.flow().level(np.array(999)).sigma, 1.0)
    np.testing.assert_allclose(schedules.edm().level(np.array([0, 999])).sigma, [0.002, 80.0])


def test_zero_terminal_snr_ends_in_noise_and_starts_where_it_did():
    plain, rescaled = schedules.make("linear"), schedules.make("linear", zero_terminal_snr=True)
    assert rescaled.alpha_bar[-1] == 0
    np.testing.assert_allclose(rescaled.alpha_bar[0], plain.alpha_bar[0], rtol=1e-12)
    assert levels.select(rescaled, 10, "trailing").sigma[0] == 1.0
    # The spacings by log-SNR start there too.
    for spacing in ("karras", "log_snr", "aligned"):
        chosen = levels.select(rescaled, 10, spacing)
        assert chosen.sigma[0] == 1.0
        assert np.all(np.diff(chosen.sigma) < 0)


@pytest.mark.parametrize("name", ["linear", "cosine", "flow", "edm"])
def test_levels_are_found_again_by_their_noise(name):
    schedule = schedules.make(name, 100)
    inner = schedule.level(np.arange(3, 90))
    again = schedule.at_log_snr(2 * np.log(inner.alpha / inner.sigma))
    # The same place of the curve scaled by any factor, as samplers make them up.
    located = schedule.locate(Level(jnp.nan, *(jnp.asarray(1.7 * v) for v in inner[1:])))
    for found, tolerance in ((again, 1e-6), (located, 2e-3)):
        np.testing.assert_allclose(found.t, inner.t, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(found.alpha, inner.alpha, rtol=tolerance)
        np.testing.assert_allclose(found.sigma, inner.sigma, rtol=tolerance)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: schedules.make("cosin"), "cosine"),
        (lambda: schedules.make("linear", 0), "num_train_steps"),
        (lambda: schedules.make("linear", 10, 0.1, 0.01), "beta_start"),
        (lambda: schedules.make("flow", 10, zero_terminal_snr=True), "zero_terminal_snr"),
        (lambda: levels.select(schedules.make("linear", 50), 0), "1 to 50"),
        (lambda: levels.select(schedules.make("linear", 50), 51), "1 to 50"),
        (lambda: levels.select(schedules.make("linear", 50), 5, "karas"), "karras"),
        (lambda: levels.select(schedules.make("linear", 50), 5, "linear", steps_offset=50), "steps_offset"),
        (lambda: levels.select(schedules.make("linear", 50), 5, "trailing", steps_offset=1), "trailing"),
        (lambda: levels.select(schedules.make("linear", 50), 50, "leading", steps_offset=1), "steps_offset.*smaller"),
        (lambda: levels.select(schedules.make("linear", 50), 10, "leading", steps_offset=9), "steps_offset.*smaller"),
        (lambda: levels.select(schedules.make("linear", 50), 50, "linear", steps_offset=1), "steps_offset.*smaller"),
        (lambda: levels.strided_pairs(schedules.make("linear", 50), 50, steps_offset=1), "steps_offset.*smaller"),
        (lambda: schedules.DiscreteSchedule(np.array([0.9, 0.95])), "more noise"),
        (lambda: schedules.DiscreteSchedule(np.array([0.9, np.nan])), "finite"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
