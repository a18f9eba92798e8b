"""Momentum of projected guidance: the published loop, off at 0, swept, and refused where it cannot be carried."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.array_types import Condition, Level
from brain_diffusion_jax.diffusion import guidance, levels, memory, samplers, schedules
from brain_diffusion_jax.diffusion.prediction import Clipped, expand, from_x0
from brain_diffusion_jax.diffusion.samplers import base
from brain_diffusion_jax.diffusion.sweep import sweep
from brain_diffusion_jax.errors import InputError

KEY = jax.random.key(0)
PATH = levels.select(schedules.make("cosine"), 6)
X = base.initial_noise(KEY, (3, 4, 4, 1))
CONDITION = Condition(jnp.asarray([[0.5], [-0.2], [0.9]]), jnp.ones((3, 1), bool))


def model(x, level, condition):
    """x0 depends on the condition in a direction that turns with the level: differences of steps disagree."""
    wanted = jnp.where(condition.present[:, 0], condition.values[:, 0], 0.0)
    row, column = jnp.meshgrid(jnp.arange(4.0), jnp.arange(4.0), indexing="ij")
    pattern = jnp.cos(row * level.sigma * 3 + column * level.alpha)[..., None]
    return from_x0(0.4 * x + expand(wanted, x) * pattern, x, level)


def simulate(name="ddim", denoise=model, path=PATH, scale=3.0, **options):
    rule = guidance.projected(denoise, jnp.asarray(scale, X.dtype), **options)
    return base.run(samplers.get(name), rule, X, path, CONDITION, KEY)


def test_momentum_is_the_published_loop():
    """Algorithm 1 of Sadat et al. 2024 in numpy, float64, around DDIM."""
    beta, eta, r, w = -0.6, 0.3, 0.2, 3.0
    null = guidance.null_of(CONDITION)
    x, buffer = np.asarray(X, np.float64), 0.0
    for i in range(6):
        level, after = (Level(*(float(v[j]) for v in PATH)) for j in (i, i + 1))
        with jax.enable_x64(True):
            cond, uncond = (np.asarray(model(jnp.asarray(x), level, c).x0) for c in (CONDITION, null))
        buffer = cond - uncond + beta * buffer
        norm = np.sqrt(np.mean(buffer**2, axis=(1, 2, 3), keepdims=True))
        d = buffer * np.minimum(1, r / norm)
        unit = cond / np.sqrt(np.sum(cond**2, axis=(1, 2, 3), keepdims=True))
        parallel = np.sum(d * unit, axis=(1, 2, 3), keepdims=True) * unit
        x0 = cond + (w - 1) * (d - parallel + eta * parallel)
        x = after.alpha * x0 + after.sigma * (x - level.alpha * x0) / level.sigma
    got = simulate(momentum=beta, parallel=eta, radius=r)
    np.testing.assert_allclose(got, x, atol=2e-5)
    assert np.abs(got - simulate(parallel=eta, radius=r)).max() > 0.02


def test_no_momentum_is_exactly_none_static_and_traced():
    off = simulate()
    np.testing.assert_array_equal(simulate(momentum=0.0), off)
    np.testing.assert_allclose(simulate(momentum=jnp.float32(0.0)), off, atol=1e-6)
    plain = base.run(samplers.get("ddim"), guidance.classifier_free(model, jnp.float32(3.0)), X, PATH, CONDITION, KEY)
    np.testing.assert_allclose(simulate(parallel=1.0), plain, atol=1e-5)
    assert guidance.projected(model, 1.0, momentum=-0.5) is model


def test_momentum_is_swept_beside_the_scale_and_in_chunks():
    betas, scales = np.float32([0.0, -0.5, -0.5]), [3.0, 3.0, 5.0]
    want = jnp.stack([simulate(momentum=float(b), scale=w) for b, w in zip(betas, scales)])
    settings = dict(rule=guidance.projected, guidance_options={"momentum": betas})
    for extra in ({}, {"chunk": 2}, {"share_first": True}):
        got = sweep(model, samplers.get("ddim"), PATH, X, CONDITION, KEY, scales, **settings, **extra)
        np.testing.assert_allclose(got, want, atol=2e-5, err_msg=str(extra))


@pytest.mark.parametrize("name", [n for n in samplers.names() if n != "restart"])
def test_every_other_sampler_carries_it(name):
    got = simulate(name, momentum=-0.5)
    assert np.all(np.isfinite(got))
    assert np.abs(got - simulate(name)).max() > 1e-3


def test_it_lies_under_clipping():
    clipped = Clipped(model, -0.1, 0.1)
    got = simulate(denoise=clipped, momentum=-0.5)
    assert float(jnp.abs(got).max()) <= 0.1 + 1e-6
    rule = guidance.projected(clipped, 3.0, momentum=-0.5)
    assert jax.tree.leaves(memory.start(rule, X))[0].shape == X.shape
    assert memory.start(guidance.classifier_free(clipped, 3.0), X) == ()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: simulate("restart", momentum=-0.5), "Restart"),
        (lambda: guidance.projected(model, 3.0, momentum=-1.5), "above -1"),
        (lambda: guidance.projected(model, 3.0, momentum=float("nan")), "above -1"),
        (
            lambda: guidance.interval(guidance.projected(model, 3.0, momentum=-0.5), 2.0)(
                X, Level(500.0, 0.6, 0.8), CONDITION
            ),
            "outermost",
        ),
    ],
)
def test_where_it_cannot_be_carried_it_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
