"""The sweep equals a loop, in chunks too; one program for all scales, seeds and conditions."""

from __future__ import annotations

import itertools
import warnings

import exact_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from brain_diffusion_jax.array_types import Condition
from brain_diffusion_jax.diffusion import guidance, levels, samplers
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.diffusion.samplers import base
from brain_diffusion_jax.diffusion.sweep import check_scales, memory_needed, split_arrays, sweep
from brain_diffusion_jax.errors import InputError

PROCESS = Process(schedule="cosine", prediction="x0", clip_x0=False)
SHAPE = (3, 3, 1)
KEY = jax.random.key(7)
CONDITION = Condition(np.asarray([[0.1], [0.5], [-0.4], [0.9], [0.2]], np.float32), np.ones((5, 1), bool))
TRACES = []


def network(params, x, t, condition):
    TRACES.append(x.shape)  # once a trace
    level = PROCESS.level(jnp.asarray(t, jnp.int32))
    return exact_models.gaussian(x, level, condition, mean=params["mean"]).x0


def denoiser(mean=0.1):
    return PROCESS.denoise_fn(Partial(network, {"mean": jnp.float32(mean)}))


def noise(n=5, key=KEY):
    return base.initial_noise(key, (n, *SHAPE))


def loop(sampler, scale, path, x, condition=CONDITION, key=KEY, rule=guidance.classifier_free, **options):
    return base.run(sampler, rule(denoiser(), jnp.float32(scale), **options), x, path, condition, key)


def test_a_sweep_equals_a_loop_in_chunks_and_with_a_shared_first_step():
    path = levels.select(PROCESS.table, 4)
    sampler, scales = samplers.get("ddim", eta=0.7), [0.0, 1.0, 3.5]
    want = jnp.stack([loop(sampler, w, path, noise()) for w in scales])
    got = sweep(denoiser(), sampler, path, noise(), CONDITION, KEY, scales)
    np.testing.assert_allclose(got, want, atol=2e-5)
    for settings in ({"chunk": 2}, {"share_first": True}, {"devices": jax.devices()}):
        again = sweep(denoiser(), sampler, path, noise(), CONDITION, KEY, scales, **settings)
        np.testing.assert_allclose(again, want, atol=2e-5, err_msg=str(settings))
    plain = sweep(denoiser(), sampler, path, noise(), CONDITION, KEY)
    np.testing.assert_allclose(plain, want[1:2], atol=2e-5)


def test_one_program_whatever_scales_conditions_seeds_and_parameters():
    path, sampler = levels.select(PROCESS.table, 3), samplers.get("ddpm")
    sweep(denoiser(), sampler, path, noise(), CONDITION, KEY, [1.0, 2.0])
    before = len(TRACES)
    for seed in range(3):
        key = jax.random.key(seed)
        other = Condition(CONDITION.values + seed, CONDITION.present)
        path = levels.select(PROCESS.table, 3, "karras")  # other levels, as many
        got = sweep(denoiser(0.1 * seed), sampler, path, noise(key=key), other, key, [1.0 + seed, 5.0])
        assert np.all(np.isfinite(got))
    assert len(TRACES) == before
    sweep(denoiser(), sampler, path, noise(), CONDITION, KEY, [1.0, 2.0, 3.0])  # another count is another program
    assert len(TRACES) > before


def test_every_sampler_is_a_program_of_its_own():
    """JAX says that structures of different dataclasses are equal: then one sampler ran in place of another."""
    rests = {name: split_arrays(samplers.get(name))[1] for name in samplers.names()}
    for (name, rest), (other, another) in itertools.combinations(rests.items(), 2):
        assert rest != another, (name, other)
    path = levels.select(PROCESS.table, 4)
    for name in ("dpm_solver_2m", "euler", "flow_midpoint", "dpm_solver_2s"):
        want = base.run(samplers.get(name), denoiser(), noise(), path, CONDITION, KEY)
        got = sweep(denoiser(), samplers.get(name), path, noise(), CONDITION, KEY)[0]
        np.testing.assert_allclose(got, want, atol=2e-5, err_msg=name)


def test_the_first_step_asks_the_network_once_for_all_scales():
    path, sampler = levels.select(PROCESS.table, 5), samplers.get("ddim")
    seen = []

    def watched(x, t, condition):
        jax.debug.callback(lambda x: seen.append(x.shape), x)
        return exact_models.gaussian(x, PROCESS.level(jnp.asarray(t, jnp.int32)), condition).x0

    for share in (False, True):
        seen.clear()
        denoise = PROCESS.denoise_fn(watched)
        sweep(denoise, sampler, path, noise(), CONDITION, KEY, [1.0, 2.0, 3.0], share_first=share).block_until_ready()
        jax.effects_barrier()
        # a callback under vmap is called once a scale
        assert len(seen) == (1 + 4 * 3 if share else 5 * 3)


def test_axes_over_eta_interval_and_rescale():
    path, x = levels.select(PROCESS.table, 4), noise()
    etas, scales = np.float32([0.0, 0.5, 1.0]), [2.0, 3.0, 3.0]
    got = sweep(denoiser(), samplers.get("ddim"), path, x, CONDITION, KEY, scales, sampler_options={"eta": etas})
    for i in range(3):
        np.testing.assert_allclose(
            got[i], loop(samplers.get("ddim", eta=float(etas[i])), scales[i], path, x), atol=2e-5
        )
    options = {"low": np.float32([0.0, 0.3]), "high": np.float32([np.inf, 2.0])}
    got = sweep(
        denoiser(),
        samplers.get("ddim"),
        path,
        x,
        CONDITION,
        KEY,
        [4.0, 4.0],
        rule=guidance.interval,
        guidance_options=options,
    )
    np.testing.assert_allclose(got[0], loop(samplers.get("ddim"), 4.0, path, x), atol=2e-5)
    want = loop(samplers.get("ddim"), 4.0, path, x, rule=guidance.interval, low=0.3, high=2.0)
    np.testing.assert_allclose(got[1], want, atol=2e-5)
    assert np.abs(got[1] - got[0]).max() > 0.05


def test_a_sweep_that_does_not_fit_says_the_chunk_that_would():
    path, sampler = levels.select(PROCESS.table, 2), samplers.get("ddim")
    arguments = (denoiser(), sampler, path, noise(), CONDITION, KEY, [1.0, 2.0])
    sweep(*arguments, memory_limit=10**9)
    settings = dict(rule=guidance.classifier_free, guidance_options={}, sampler_options={}, fixed={}, share_first=False)
    needed = memory_needed(*arguments[:5], base.sample_keys(KEY, 5), jnp.asarray([1.0, 2.0]), **settings)
    with pytest.raises(InputError, match=r"MiB for chunk=5.*chunk=[1-4]"):
        sweep(*arguments, memory_limit=int(0.6 * needed))


def test_scales_are_checked():
    with pytest.raises(InputError, match="finite"):
        check_scales([1.0, float("nan")])
    with pytest.raises(InputError, match="numbers"):
        check_scales(["strong"])
    with pytest.warns(UserWarning, match="below 0"):
        check_scales([-1.0, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_scales([0.0, 7.0])
    path = levels.select(PROCESS.table, 2)
    with pytest.raises(InputError, match="same number"):
        sweep(
            denoiser(), samplers.get("ddim"), path, noise(), CONDITION, KEY, [1.0], sampler_options={"eta": np.zeros(2)}
        )
