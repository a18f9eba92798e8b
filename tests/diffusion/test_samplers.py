"""Samplers against closed forms: order of convergence, exactness, what each reduces to, published formulas."""

from __future__ import annotations

import functools
import itertools
from functools import partial

import exact_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_models import end, path

from brain_diffusion_jax.array_types import Level
from brain_diffusion_jax.diffusion import levels, samplers, schedules
from brain_diffusion_jax.diffusion.samplers import base
from brain_diffusion_jax.diffusion.samplers.exponential import phi
from brain_diffusion_jax.errors import InputError

KEY = jax.random.key(0)
# sampler, options, order, spacing of the levels in which the order is claimed
ORDERS = [
    ("ddim", {}, 1, "lambda"),
    ("euler", {}, 1, "ratio"),
    ("heun", {}, 2, "lambda"),
    ("dpm_solver_2m", {}, 2, "lambda"),
    ("dpm_solver_2s", {}, 2, "lambda"),
    ("dpm_solver_sde_2m", {"eta": 0.0}, 2, "lambda"),
    ("dpm_solver_sde_3m", {"eta": 0.0}, 2, "lambda"),  # 3 but for its first step, of order 1
    ("unipc", {"order": 2}, 3, "lambda"),
    ("unipc", {"order": 3}, 3.5, "lambda"),  # 4 with more steps
    ("deis", {"order": 2}, 2, "lambda"),
    ("deis", {"order": 3}, 2, "lambda"),  # as above
    ("pndm", {}, 4, "ratio"),
    ("plms", {}, 3, "ratio"),  # 4 but for its start
    ("restart", {"repeats": 0}, 2, "lambda"),
    ("flow_euler", {}, 1, "lambda"),
    ("flow_midpoint", {}, 2, "lambda"),
]
ODE = [(name, options) for name, options, _, _ in ORDERS if name not in ("euler", "flow_euler", "restart")]


def simulate(name, options, denoise, x, chosen, key=KEY, **settings):
    sampler = samplers.get(name, **options)
    return jax.jit(lambda x, chosen: base.run(sampler, denoise, x, chosen, None, key, **settings))(x, chosen)


@pytest.mark.parametrize(("name", "options", "order", "kind"), ORDERS)
def test_the_order_of_convergence_is_the_one_stated(name, options, order, kind):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 1, 1, 1)))
        errors = []
        for steps in (32, 64):
            # sigma/alpha from 3 to 1 where the method assumes it evenly spaced, a longer way otherwise
            chosen = path(steps, kind, *((-np.log(3.0), 0.0) if kind == "ratio" else (-2.0, 2.0)))
            got = simulate(name, options, exact_models.gaussian, x, chosen)
            want = exact_models.gaussian_flow(x, end(chosen, 0), end(chosen, -1))
            errors.append(float(jnp.sqrt(jnp.mean((got - want) ** 2))))
    measured = np.log2(errors[0] / errors[1])
    assert measured > order - 0.3, errors
    if name not in ("dpm_solver_sde_3m", "deis", "flow_midpoint", "plms"):  # which may do better on a Gaussian
        assert measured < order + 0.7, errors


@pytest.mark.parametrize(("name", "options"), ODE)
def test_a_mixture_is_reached_along_its_exact_flow(name, options):
    schedule = schedules.make("cosine")
    chosen = levels.select(schedule, 60, "log_snr")
    x = samplers.base.initial_noise(KEY, (200, 1, 1, 1))
    got = np.asarray(simulate(name, options, exact_models.mixture, x, chosen))
    want = exact_models.mixture_flow(x, end(chosen, 0), end(chosen, -1))
    limit = 0.06 if name == "ddim" else 0.02
    # Between the two bumps the flow is steep; a few points there may go either way.
    assert np.quantile(np.abs(got - want), 0.95) < limit
    assert np.all(np.isfinite(got))


STOCHASTIC = [
    ("ddpm", {}),
    ("ddpm", {"variance": "fixed_large"}),
    ("ddim", {"eta": 1.0}),
    ("ddim", {"eta": 0.4}),
    ("euler_ancestral", {}),
    ("heun", {"churn": 0.2}),
    ("dpm_solver_sde_2m", {}),
    ("dpm_solver_sde_3m", {"eta": 0.5}),
    ("restart", {}),
]


@pytest.mark.parametrize(("name", "options"), STOCHASTIC)
def test_stochastic_samplers_give_the_right_distribution(name, options):
    x = samplers.base.initial_noise(KEY, (5000, 1, 1, 1))
    chosen = levels.select(schedules.make("cosine"), 150, "trailing")
    got = np.asarray(simulate(name, options, exact_models.gaussian, x, chosen, jax.random.key(1)))
    assert abs(got.mean() - exact_models.MEAN) < 0.02
    assert abs(got.std() / exact_models.STD - 1) < 0.05
    # It is noise, not the flow: another key gives other samples.
    other = np.asarray(simulate(name, options, exact_models.gaussian, x, chosen, jax.random.key(2)))
    assert np.mean(np.abs(got - other)) > 0.02


ALL_STEPS = 100
ALL_SAMPLERS = [(name, {}) for name in samplers.names()] + [case for case in STOCHASTIC if case[1]]


@functools.cache
def all_steps_of_every_schedule():
    """(name, levels [ALL_STEPS + 1]) of every schedule and spacing; those that are the same once."""
    found = {}
    for name, no_signal in itertools.product(schedules.names(), (False, True)):
        if no_signal and not schedules.make(name).is_variance_preserving:
            continue
        # betas as they are over 1000 steps, so that the last level is as noisy
        table = schedules.make(name, ALL_STEPS, 1e-4 * 1000 / ALL_STEPS, 2e-2 * 1000 / ALL_STEPS, no_signal)
        for spacing in levels.names():
            # `aligned` leaves levels out of a finer grid; all steps are all levels of its grid
            chosen = levels.select(table, ALL_STEPS, spacing, **({"grid": ALL_STEPS} if spacing == "aligned" else {}))
            found.setdefault(chosen.sigma.tobytes(), (f"{name} {no_signal} {spacing}", chosen))
    return list(found.values())


@pytest.mark.parametrize(("name", "options"), ALL_SAMPLERS)
def test_all_steps_of_every_schedule_and_spacing_give_the_distribution(name, options):
    """Exact score of N(0.3, 0.2^2), schedules whose first level has no noise at all (cosine_monai) among them."""
    exact = partial(exact_models.gaussian, mean=0.3, std=0.2)
    sampler, chosen = samplers.get(name, **options), all_steps_of_every_schedule()

    def one(levels):
        x = base.initial_noise(jax.random.key(1), (1000, 1, 1, 1), levels)
        return base.run(sampler, exact, x, levels, None, jax.random.key(2))

    stacked = jax.tree.map(lambda *v: jnp.asarray(np.stack(v), jnp.float32), *(path for _, path in chosen))
    got = np.asarray(jax.jit(jax.vmap(one))(stacked)).reshape(len(chosen), -1)
    wrong = ~((np.abs(got.mean(1) - 0.3) < 0.03) & (np.abs(got.std(1) - 0.2) < 0.06))
    assert not wrong.any(), [(chosen[i][0], got[i].mean(), got[i].std()) for i in np.flatnonzero(wrong)]


def test_the_levels_without_noise_are_among_them():
    without = [name for name, chosen in all_steps_of_every_schedule() if chosen.sigma[-2] == 0]
    assert without == ["cosine_monai False leading", "cosine_monai True leading"]


def test_reductions():
    """DDIM(1) is DDPM, Euler is DDIM(0), and so on: the docstrings' claims."""
    x = samplers.base.initial_noise(KEY, (32, 2, 2, 1))
    chosen = levels.select(schedules.make("linear"), 12, "trailing")

    def get(name, **options):
        return np.asarray(simulate(name, options, exact_models.mixture, x, chosen))

    ancestral, deterministic = get("ddim", eta=1.0), get("ddim")
    for same in (get("ddpm"), get("euler_ancestral")):
        np.testing.assert_allclose(same, ancestral, atol=2e-5)
    for same in (get("euler"), get("flow_euler"), get("deis", order=1), get("euler_ancestral", eta=0.0)):
        np.testing.assert_allclose(same, deterministic, atol=2e-5)
    np.testing.assert_allclose(get("dpm_solver_sde_2m", eta=0.0), get("dpm_solver_2m"), atol=1e-6)
    np.testing.assert_allclose(get("restart", repeats=0), get("heun"), atol=1e-6)
    assert np.abs(get("heun") - deterministic).max() > 0.01


@pytest.mark.parametrize("name", samplers.names())
def test_few_steps_and_a_noise_only_start_stay_finite(name):
    """From alpha = 0, where the ODE in sigma/alpha has no value; one step is the best guess of x0."""
    x = samplers.base.initial_noise(KEY, (16, 2, 2, 1))
    for steps, table in ((1, schedules.make("flow")), (3, schedules.make("cosine", zero_terminal_snr=True))):
        chosen = levels.select(table, steps, "trailing")
        assert chosen.alpha[0] == 0
        got = np.asarray(simulate(name, {}, exact_models.gaussian, x, chosen))
        assert np.all(np.isfinite(got))
        if steps == 1 and name != "flow_midpoint":
            np.testing.assert_allclose(got, exact_models.MEAN, atol=1e-5)
        assert abs(got.mean() - exact_models.MEAN) < 0.15


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_solver_2m", "dpm_solver_2s", "unipc", "pndm"])
def test_variance_exploding_levels_need_no_other_code(name):
    """EDM's levels (alpha 1, sigma up to 80) through the same samplers."""
    chosen = levels.select(schedules.make("edm"), 40, "karras")
    x = samplers.base.initial_noise(KEY, (100, 1, 1, 1), chosen)
    assert 60 < float(jnp.std(x)) < 100
    got = np.asarray(simulate(name, {}, exact_models.gaussian, x, chosen))
    want = exact_models.gaussian_flow(x, end(chosen, 0), end(chosen, -1))
    np.testing.assert_allclose(got, want, atol=0.3 if name == "ddim" else 0.04)


def test_phi_functions():
    with jax.enable_x64(True):
        z = jnp.asarray([-5.0, -1.0, -0.3, -1e-9, 0.0, 1e-5, 0.5, 0.999, 2.0])
        exact = [np.exp(z), np.where(z == 0, 1, np.expm1(z) / np.where(z == 0, 1, z))]
        for k in range(2):
            np.testing.assert_allclose(phi(k, z), exact[k], rtol=1e-12)
        for k in (1, 2):  # the defining recursion, where it does not cancel
            big = jnp.asarray([-5.0, -0.5, 0.7, 2.0])
            np.testing.assert_allclose(big * phi(k + 1, big) + 1 / (1, 1, 2)[k], phi(k, big), rtol=1e-10)


def test_restart_goes_back_up_and_says_where():
    sampler = samplers.get("restart", repeats=2, start=0.5, stop=0.75)
    assert sampler.visits(8).tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 4, 5, 6, 7, 8]
    assert sampler.visits(1).tolist() == [0, 1]


def test_trajectory_and_unrolled_first_step_are_the_same_run():
    x = samplers.base.initial_noise(KEY, (4, 2, 2, 1))
    chosen = levels.select(schedules.make("cosine"), 6)
    run = partial(simulate, "dpm_solver_sde_2m", {}, exact_models.mixture, x, chosen)
    whole = run(trajectory=True)
    assert whole.shape == (6, 4, 2, 2, 1)
    np.testing.assert_allclose(whole[-1], run(), atol=1e-6)
    np.testing.assert_allclose(run(trajectory=True, unroll_first=True), whole, atol=1e-6)


def test_a_sample_does_not_depend_on_its_batch():
    x = samplers.base.initial_noise(KEY, (5, 3, 3, 1))
    np.testing.assert_array_equal(samplers.base.initial_noise(KEY, (2, 3, 3, 1)), x[:2])
    chosen = levels.select(schedules.make("cosine"), 4)
    whole = simulate("ddpm", {}, exact_models.gaussian, x, chosen)
    keys = base.sample_keys(KEY, 5)
    some = simulate("ddpm", {}, exact_models.gaussian, x[3:4], chosen, keys[3:4])
    np.testing.assert_allclose(some, whole[3:4], atol=1e-6)
    raw = simulate("ddpm", {}, exact_models.gaussian, x, chosen, jax.random.PRNGKey(0))
    np.testing.assert_array_equal(raw, whole)


# The formulas of k-diffusion (MIT licence) written anew in float64 numpy, in its variable sigma of y = x0 + sigma eps.


def _k_denoise(y, sigma):
    prediction = exact_models.mixture(jnp.asarray(y), Level(0.0, jnp.ones(()), jnp.asarray(sigma)))
    return np.asarray(prediction.x0)


def _k_euler_ancestral(y, sigmas, noise, eta=1.0):
    for i in range(len(sigmas) - 1):
        s, n = sigmas[i], sigmas[i + 1]
        denoised = _k_denoise(y, s)
        up = min(n, eta * (n**2 * (s**2 - n**2) / s**2) ** 0.5)
        down = (n**2 - up**2) ** 0.5
        y = y + (y - denoised) / s * (down - s) + noise[i] * up
    return y


def _k_heun(y, sigmas, noise):
    for i in range(len(sigmas) - 1):
        s, n = sigmas[i], sigmas[i + 1]
        d = (y - _k_denoise(y, s)) / s
        y2 = y + d * (n - s)
        if n > 0:
            d = (d + (y2 - _k_denoise(y2, n)) / n) / 2
        y = y + d * (n - s)
    return y


def _k_2m(y, sigmas, noise):
    old = None
    for i in range(len(sigmas) - 1):
        s, n = sigmas[i], sigmas[i + 1]
        denoised = _k_denoise(y, s)
        mixed = denoised
        if old is not None and n > 0:
            r = np.log(sigmas[i - 1] / s) / np.log(s / n)
            mixed = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * old
        y, old = n / s * y - (n / s - 1) * mixed, denoised
    return y


def _k_2s(y, sigmas, noise):
    for i in range(len(sigmas) - 1):
        s, n = sigmas[i], sigmas[i + 1]
        denoised = _k_denoise(y, s)
        if n == 0:
            y = denoised
            continue
        middle = (s * n) ** 0.5
        y2 = middle / s * y - (middle / s - 1) * denoised
        y = n / s * y - (n / s - 1) * _k_denoise(y2, middle)
    return y


def _k_sde_2m(y, sigmas, noise, eta=1.0):
    old = h_last = None
    for i in range(len(sigmas) - 1):
        s, n = sigmas[i], sigmas[i + 1]
        denoised = _k_denoise(y, s)
        if n == 0:
            y = denoised
            continue
        h = np.log(s / n)
        y2 = n / s * np.exp(-eta * h) * y - np.expm1(-h - eta * h) * denoised
        if old is not None:
            y2 = y2 - 0.5 * np.expm1(-h - eta * h) * h / h_last * (denoised - old)
        y = y2 + noise[i] * n * np.sqrt(-np.expm1(-2 * eta * h))
        old, h_last = denoised, h
    return y


def _k_sde_3m(y, sigmas, noise, eta=1.0):
    d1 = d2 = h1 = h2 = None
    for i in range(len(sigmas) - 1):
        s, n = sigmas[i], sigmas[i + 1]
        denoised = _k_denoise(y, s)
        if n == 0:
            y = denoised
            continue
        h = np.log(s / n)
        e = h * (eta + 1)
        y = np.exp(-e) * y - np.expm1(-e) * denoised
        if h2 is not None:
            r0, r1 = h1 / h, h2 / h
            first, second = (denoised - d1) / r0, (d1 - d2) / r1
            slope, bend = first + (first - second) * r0 / (r0 + r1), (first - second) / (r0 + r1)
            p2 = np.expm1(-e) / e + 1
            y = y + p2 * slope - (p2 / e - 0.5) * bend
        elif h1 is not None:
            y = y + (np.expm1(-e) / e + 1) * (denoised - d1) / (h1 / h)
        y = y + noise[i] * n * np.sqrt(-np.expm1(-2 * h * eta))
        d1, d2, h1, h2 = denoised, d1, h, h1
    return y


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("euler_ancestral", _k_euler_ancestral),
        ("heun", _k_heun),
        ("dpm_solver_2m", _k_2m),
        ("dpm_solver_2s", _k_2s),
        ("dpm_solver_sde_2m", _k_sde_2m),
        ("dpm_solver_sde_3m", _k_sde_3m),
    ],
)
def test_agreement_with_the_formulas_of_k_diffusion(name, formula):
    with jax.enable_x64(True):
        chosen = levels.select(schedules.make("cosine"), 9, "karras")
        x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 2, 1)))
        keys = base.sample_keys(KEY, 3)
        noise = [
            np.asarray(base.gaussian(jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(keys), x)) for i in range(9)
        ]
        got = simulate(name, {}, exact_models.mixture, x, chosen)
        want = formula(np.asarray(x) / chosen.alpha[0], chosen.sigma / chosen.alpha, noise)
        np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("dim", {}, "ddim"),
        ("ddim", {"eta": 1.5}, "0 to 1"),
        ("ddim", {"eta": float("nan")}, "0 to 1"),
        ("ddim", {"etta": 0.5}, "one of eta"),
        ("dpm_solver_2m", {"eta": 0.5}, "it has none"),
        ("ddpm", {"variance": "small"}, "fixed_small"),
        ("heun", {"low": 2.0, "high": 1.0}, "lower one first"),
        ("unipc", {"order": 7}, "2, 3"),
    ],
)
def test_bad_samplers_and_options_are_named(name, options, words):
    with pytest.raises(InputError, match=words):
        samplers.get(name, **options)


def test_an_unknown_sampler_is_answered_with_all_of_them():
    with pytest.raises(InputError) as error:
        samplers.get("nonsense")
    assert all(name in str(error.value) for name in samplers.names())
