"""WGAN-GP through the general step: who moves when, the penalty, the condition."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.gan import GanNetworks, make_gan
from brain_diffusion_jax.tasks.gan import loss as gan_loss
from brain_diffusion_jax.training import state, step
from brain_diffusion_jax.training.run_folder import store

SIZE, BATCH = (14, 10), 8
GAN = make_gan(SIZE, (2,), GanNetworks((8, 8), 4))


def batch(seed: int = 0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, BATCH)
    image = np.full((BATCH, *SIZE, 1), 40, np.uint8)
    image[label == 1, :7] = 220  # class 1 is bright above
    return {
        "image": jnp.asarray(image),
        "values": jnp.asarray(label[:, None], jnp.float32),
        "present": jnp.ones((BATCH, 1), bool),
        "index": jnp.arange(BATCH),
    }


def start(settings):
    tx = gan_loss.make_optimizer(settings)
    made = state.create(gan_loss.make_init(GAN, 1)(jax.random.key(0)), tx)
    return made, jax.jit(step.build_step(gan_loss.make_loss(GAN, settings), tx, ema_decay=0.9))


def moved(a, b):
    return {n: any(bool((x != y).any()) for x, y in zip(*map(jax.tree.leaves, (a[n], b[n])))) for n in a}


@pytest.fixture(scope="module")
def trained():
    """Parameters after each of 6 steps with 3 critic steps."""
    now, one = start(gan_loss.GanSettings(critic_steps=3, learning_rate=1e-3))
    seen, rows = [now.params], []
    for i in range(6):
        now, metrics = one(now, batch(i), jax.random.key(1))
        seen.append(now.params)
        rows.append({k: float(v) for k, v in metrics.items()})
    return seen, rows, now


def test_generator_moves_on_every_third_step_only(trained):
    seen, rows, _ = trained
    changes = [moved(a, b) for a, b in itertools.pairwise(seen)]
    assert [c["critic"] for c in changes] == [True] * 6
    assert [c["generator"] for c in changes] == [False, False, True] * 2
    assert [r["generator"] != 0 for r in rows] == [False, False, True] * 2
    assert all(np.isfinite(v) for r in rows for v in r.values())


def test_a_run_of_release_0_1_whose_checkpoint_holds_a_clock_goes_on(trained, tmp_path):
    """There the count of updates stood beside the parameters too."""
    now = trained[2]
    old = now.replace(model_state={"clock": {"step": jnp.asarray(6, jnp.int32)}})
    saved = store.Store(tmp_path)
    saved.save(old, {})
    saved.wait()
    found, _ = saved.restore(jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), now))
    saved.close()
    assert int(found.accepted) == 6
    jax.tree.map(np.testing.assert_array_equal, found, now)


def test_penalty_is_the_squared_distance_of_the_slope_from_one():
    """A critic that is linear has the same slope everywhere, known from its weights."""
    params = GAN.init(jax.random.key(0), jnp.zeros((1, 4)), jnp.zeros((1, 1)), jnp.zeros((1, 1), bool))["params"]
    flat = jax.tree.map(jnp.zeros_like, params["critic"])  # a critic that says 0 everywhere has slope 0
    loss = gan_loss.make_loss(GAN, gan_loss.GanSettings(penalty=7.0))
    value, (metrics, _) = loss({**params, "critic": flat}, {}, batch(), jax.random.key(0), 0)
    assert float(metrics["penalty"]) == pytest.approx(1.0, abs=1e-4)
    assert float(value) == pytest.approx(7.0, abs=1e-3)


def test_pictures_have_any_size_and_depend_on_the_condition():
    params = GAN.init(jax.random.key(0), jnp.zeros((1, 4)), jnp.zeros((1, 1)), jnp.zeros((1, 1), bool))["params"]
    z = jnp.ones((3, 4))
    values, present = jnp.array([[0.0], [1.0], [1.0]]), jnp.array([[True], [True], [False]])
    out = GAN.apply({"params": params}, z, values, present, method="generate")
    assert out.shape == (3, *SIZE, 1)
    assert float(jnp.abs(out).max()) <= 1
    assert not jnp.allclose(out[0], out[1])
    assert not jnp.allclose(out[1], out[2])  # a null of its own
    plain = make_gan(SIZE, (2,), GanNetworks((8, 8), 4, conditional=False))
    params = plain.init(jax.random.key(0), z[:1], values[:1], present[:1])["params"]
    out = plain.apply({"params": params}, z, values, present, method="generate")
    np.testing.assert_array_equal(out[0], out[1])


def test_nonsense_settings_are_refused():
    with pytest.raises(InputError, match="critic_steps"):
        gan_loss.GanSettings(critic_steps=0)
    with pytest.raises(InputError, match="penalty"):
        gan_loss.GanSettings(penalty=-1.0)
