"""Guidance rules on a denoiser known in closed form: off values, what each reduces to, and vmap over scales."""

from __future__ import annotations

import exact_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.array_types import Condition, Level
from brain_diffusion_jax.diffusion import guidance
from brain_diffusion_jax.diffusion.prediction import Clipped, expand, from_x0
from brain_diffusion_jax.errors import InputError

LEVEL = Level(500.0, 0.6, 0.8)
X = jax.random.normal(jax.random.key(0), (3, 4, 4, 1))
CONDITION = Condition(jnp.asarray([[0.5, 1.0], [-0.2, 0.3], [0.1, 0.7]]), jnp.ones((3, 2), bool))


def model(x, level, condition):
    """x0 depends on x and on both covariates, with an interaction."""
    a, b = (jnp.where(condition.present[:, i], condition.values[:, i], 0.0) for i in range(2))
    pattern = jnp.linspace(-1, 1, x[0].size).reshape(x.shape[1:])
    return from_x0(0.3 * x + expand(a + 0.5 * a * b, x) * pattern + expand(b, x) * pattern**2, x, level)


def weaker(x, level, condition):
    return from_x0(model(x, level, condition).x0 * 0.5, x, level)


def log_likelihood(x0, condition):
    return -0.5 * jnp.sum((x0 - 2.0) ** 2, axis=(1, 2, 3))


FIXED = {"autoguidance": {"weak": weaker}, "classifier_gradient": {"log_likelihood": log_likelihood}}
OFF = {"classifier_gradient": 0.0, "dynamic_threshold": 0.0}
PLAIN = model(X, LEVEL, CONDITION)
NULL = model(X, LEVEL, guidance.null_of(CONDITION))


def apply(name, scale, denoise=model, x=X, level=LEVEL, **options):
    rule = guidance.get(name)
    return rule(denoise, scale, **FIXED.get(name, {}), **options)(x, level, CONDITION)


def close(got, want, **tolerance):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, **tolerance)


def test_every_rule_has_an_off_value_traced_and_static():
    for name in guidance.names():
        off = OFF.get(name, 1.0)
        options = {"renoise": 0.0} if name == "cfg_plus_plus" else {}
        traced = jnp.full(2, off) if name == "per_covariate" else jnp.float32(off)
        close(apply(name, traced, **options), PLAIN)
        static = (off, off) if name == "per_covariate" else off
        assert guidance.get(name)(model, static, **FIXED.get(name, {})) is model


def test_classifier_free_guidance_is_the_formula_in_one_call():
    calls = []

    def counted(x, level, condition):
        calls.append(x.shape[0])
        return model(x, level, condition)

    got = apply("cfg", jnp.float32(2.5), counted)
    np.testing.assert_allclose(got.x0, NULL.x0 + 2.5 * (PLAIN.x0 - NULL.x0), atol=1e-5)
    np.testing.assert_allclose(got.eps, NULL.eps + 2.5 * (PLAIN.eps - NULL.eps), atol=1e-5)
    close(apply("cfg", jnp.float32(0.0)), NULL)
    apply("cfg", 1.0, counted)
    apply("cfg", 0.0, counted)
    assert calls == [6, 3, 3]
    each = apply("cfg", jnp.asarray([0.0, 1.0, 2.5]))
    close((each.x0[0], each.x0[1], each.x0[2]), (NULL.x0[0], PLAIN.x0[1], got.x0[2]))


def test_scales_are_vmappable():
    for name in guidance.names():
        scales = jnp.asarray([[0.5, 1.0], [2.0, 3.0]]) if name == "per_covariate" else jnp.asarray([0.5, 2.0])
        swept = jax.vmap(lambda w, name=name: apply(name, w))(scales)
        close((v[1] for v in swept), apply(name, scales[1]))


def test_what_the_rules_reduce_to():
    w = jnp.float32(3.0)
    guided = apply("cfg", w)
    close(apply("interval", w), guided)
    close(apply("interval", w, low=0.5, high=2.0), guided)
    close(apply("interval", w, low=1.5, high=2.0), PLAIN)  # sigma/alpha is 1.33
    close(apply("interval", w, low=0.0, high=1.0), PLAIN)
    close(apply("rescaled", w, rescale=0.0), guided)
    close(apply("cfg_plus_plus", w, renoise=0.0), guided)
    close(apply("projected", w, parallel=1.0), guided)
    close(apply("per_covariate", jnp.asarray([3.0, 3.0])), guided)


def test_what_the_rules_add():
    w = jnp.float32(3.0)
    full = apply("rescaled", w, rescale=1.0).x0
    np.testing.assert_allclose(jnp.std(full, axis=(1, 2, 3)), jnp.std(PLAIN.x0, axis=(1, 2, 3)), rtol=1e-4)
    plus = apply("cfg_plus_plus", jnp.float32(0.4))
    np.testing.assert_allclose(plus.eps, NULL.eps, atol=1e-6)
    np.testing.assert_allclose(plus.x0, NULL.x0 + 0.4 * (PLAIN.x0 - NULL.x0), atol=1e-5)
    push = apply("projected", w).x0 - PLAIN.x0
    assert float(jnp.abs(jnp.sum(push * PLAIN.x0, axis=(1, 2, 3))).max()) < 1e-4  # orthogonal
    short = apply("projected", w, radius=0.01, parallel=1.0).x0 - PLAIN.x0
    np.testing.assert_allclose(jnp.sqrt(jnp.mean(short**2, axis=(1, 2, 3))), 0.02, rtol=1e-4)
    weak = weaker(X, LEVEL, CONDITION)
    np.testing.assert_allclose(apply("autoguidance", w).x0, weak.x0 + 3 * (PLAIN.x0 - weak.x0), atol=1e-5)
    only = Condition(CONDITION.values, CONDITION.present.at[:, 1].set(False))
    first = model(X, LEVEL, only).x0
    want = NULL.x0 + 2 * (first - NULL.x0) + 0.5 * (PLAIN.x0 - first)
    np.testing.assert_allclose(apply("per_covariate", jnp.asarray([2.0, 0.5])).x0, want, atol=1e-5)


def test_classifier_gradient_is_bayes_on_a_gaussian():
    """Adding the true grad log p(y | x) gives the posterior's x0."""
    alpha, sigma, s2, noise = 0.6, 0.8, exact_models.STD**2, 0.5

    def exact_log_likelihood(x0, condition):
        # y = 1 seen through the denoiser: x0 | x has variance v, so p(y | x) = N(y; x0(x), v + noise^2)
        v = s2 * sigma**2 / (alpha**2 * s2 + sigma**2)
        return -0.5 * jnp.sum((1.0 - x0) ** 2, axis=(1, 2, 3)) / (v + noise**2)

    def denoise(x, level, condition):
        return exact_models.gaussian(x, level)

    rule = guidance.classifier_gradient(denoise, jnp.float32(1.0), exact_log_likelihood, through_network=True)
    got = rule(X, LEVEL, CONDITION).x0
    precision = 1 / s2 + alpha**2 / sigma**2 + 1 / noise**2
    want = (exact_models.MEAN / s2 + alpha * X / sigma**2 + 1.0 / noise**2) / precision
    np.testing.assert_allclose(got, want, atol=1e-5)
    closer = apply("classifier_gradient", jnp.float32(0.1)).x0
    assert float(jnp.mean((closer - 2) ** 2)) < float(jnp.mean((PLAIN.x0 - 2) ** 2))
    age = guidance.gaussian_log_likelihood(lambda p: 90 * p.mean((1, 2, 3)), lambda c: c.values[:, 0] * 90, 5.0)
    np.testing.assert_allclose(age(jnp.full((3, 2, 2, 1), 0.5), CONDITION)[0], 0.0, atol=1e-5)


def test_dynamic_threshold_squeezes_into_the_range():
    bright = from_x0(jnp.linspace(-1, 4, 16).reshape(1, 4, 4, 1) * jnp.ones((3, 1, 1, 1)), X, LEVEL)
    out = apply("dynamic_threshold", 0.999, lambda *_: bright, percentile=1.0).x0
    assert float(out.max()) == pytest.approx(1.0, abs=5e-3)
    np.testing.assert_allclose(out[0, 0, 1, 0] - out[0, 0, 0, 0], 0.25 / 3, atol=2e-3)  # 4 becomes 1, the ramp stays
    other = apply("dynamic_threshold", jnp.float32(1.0), lambda *_: bright, percentile=1.0, data_range=(-1.0, 4.0)).x0
    np.testing.assert_allclose(other, bright.x0, atol=1e-5)


def test_rules_go_under_clipping():
    clipped = Clipped(model, -0.5, 0.5)
    got = apply("cfg", jnp.float32(3.0), clipped)
    np.testing.assert_allclose(got.x0, jnp.clip(apply("cfg", jnp.float32(3.0)).x0, -0.5, 0.5), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: guidance.get("cgf"), "cfg"),
        (lambda: guidance.interval(model, 2.0, 3.0, 1.0), "low <= high"),
        (lambda: guidance.interval(model, 2.0, float("nan"), 1.0), "low <= high"),
        (lambda: guidance.autoguidance(model, 2.0), "weak"),
        (lambda: guidance.classifier_gradient(model, 2.0), "log_likelihood"),
        (lambda: guidance.classifier_free(model, 2.0)(X, LEVEL, None), "cannot be guided"),
        (lambda: apply("per_covariate", jnp.ones(3)), "one a covariate"),
        (lambda: guidance.check_options("rescaled", {"phi": 1}), "rescale"),
        (lambda: guidance.register("cfg", lambda denoise, scale: denoise), "not taken"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
