"""Editing with denoisers in closed form."""

from __future__ import annotations

import exact_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_models import end

from brain_diffusion_jax.array_types import Condition
from brain_diffusion_jax.diffusion import editing, levels, samplers, schedules, stack
from brain_diffusion_jax.errors import InputError

KEY = jax.random.key(3)
TABLE = schedules.make("linear")
PATH = levels.select(TABLE, 10, "trailing")
FINE = levels.select(TABLE, 50, "trailing")  # small enough steps for a fixed point
X0 = 0.3 + 0.4 * jax.random.normal(jax.random.key(9), (6, 3, 3, 1))
CONDITION = Condition(jnp.zeros((6, 1)), jnp.ones((6, 1), bool))


def test_img2img_between_the_picture_and_a_new_one():
    def edit(strength):
        return editing.img2img(samplers.get("ddim"), exact_models.mixture, PATH, X0, strength, None, KEY)

    np.testing.assert_array_equal(edit(0.0), X0)
    change = [float(jnp.mean((edit(strength) - X0) ** 2)) for strength in (0.2, 0.6, 1.0)]
    assert change == sorted(change)
    assert change[0] < 0.7 * change[2]
    assert editing.start_at(PATH, 0.3).t.tolist() == [299, 199, 99, -1]


def test_inpainting_keeps_the_known_part_and_samples_the_rest():
    mask = jnp.zeros((1, 3, 3, 1)).at[:, :, 1:].set(1.0)
    noise = samplers.base.initial_noise(KEY, X0.shape)
    for sampler in (samplers.get("ddim"), samplers.get("restart", repeats=1)):
        got = editing.inpaint(sampler, exact_models.gaussian, PATH, noise, X0, mask, None, KEY)
        np.testing.assert_allclose(got[:, :, 0], X0[:, :, 0], atol=1e-6)
        assert np.abs(np.asarray(got - X0))[:, :, 1:].mean() > 0.1
        assert np.all(np.isfinite(got))


def test_ddim_inversion_converges_to_the_exact_one():
    start, stop = end(PATH, 0), end(PATH, -1)
    errors = []
    for iterations in (1, 3, 15):
        x = editing.ddim_invert(exact_models.mixture, FINE, X0, None, iterations)
        back = samplers.base.run(samplers.get("ddim"), exact_models.mixture, x, FINE, None, KEY)
        errors.append(float(jnp.abs(back - X0).max()))
    assert errors[2] < 1e-3
    assert errors[2] < errors[1] < errors[0]
    x = editing.ddim_invert(exact_models.gaussian, FINE, X0, None, 15)
    np.testing.assert_allclose(x, exact_models.gaussian_flow(X0, stop, start), rtol=0.1, atol=0.1)


def test_edict_is_exact_and_a_changed_condition_moves_the_picture_by_it():
    pair = editing.edict_invert(exact_models.mixture, PATH, X0, None)
    again = editing.edict_generate(exact_models.mixture, PATH, pair, None)
    np.testing.assert_allclose(again[0], X0, atol=1e-3)
    assert float(jnp.std(pair[0])) > 0.5
    wanted = Condition(jnp.full((6, 1), 0.2), CONDITION.present)
    for method in ("edict", "ddim"):

        def edit(target, method=method, **settings):
            return editing.edit_condition(
                exact_models.gaussian, FINE, X0, CONDITION, target, method=method, iterations=15, **settings
            )

        same = edit(CONDITION)
        np.testing.assert_allclose(same, X0, atol=1e-3)  # zero edit at zero change
        np.testing.assert_allclose(edit(wanted), X0 + 0.2, atol=0.05)  # the mean moves, the person stays
        np.testing.assert_array_equal(edit(wanted, strength=0.0), X0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: editing.start_at(PATH, 1.5), "0 to 1"),
        (lambda: editing.ddim_invert(exact_models.gaussian, PATH, X0, None, 0), "at least 1"),
        (lambda: editing.edict_invert(exact_models.gaussian, PATH, X0, None, 0.0), "above 0"),
        (lambda: editing.edit_condition(exact_models.gaussian, PATH, X0, CONDITION, CONDITION, method="x"), "edict"),
        (lambda: stack.shared_noise(KEY, (2, 4, 4, 1), -1.0), "above 0"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
