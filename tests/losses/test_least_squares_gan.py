"""Who moves in which update, what each player learns from, and that both games end where they should."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brain_diffusion_jax.losses.adversarial import alternating, two_players
from brain_diffusion_jax.losses.least_squares_gan import (
    Networks,
    VaeGanWeights,
    least_squares_players,
    vae_gan_players,
)

KEY = jax.random.key(0)
BATCH = {"image": 0.3 + 0.05 * jax.random.normal(KEY, (64, 2))}
NETWORKS = Networks(
    draw=lambda batch, key: jax.random.normal(key, (len(batch["image"]), 2)),
    generate=lambda p, z, batch: z @ p["generator"]["slope"] + p["generator"]["shift"],
    critic=lambda p, x, batch: (x @ p["critic"]["weight"] + p["critic"]["bias"], x * p["critic"]["gain"]),
    encode=lambda p, x, batch: (x @ p["generator"]["mean"], jnp.full(x.shape, p["generator"]["log_variance"])),
)


def params():
    return {
        "critic": {"weight": jnp.array([0.1, -0.2]), "bias": jnp.array(0.1), "gain": jnp.array([1.0, 2.0])},
        "generator": {
            "slope": jnp.eye(2) * 0.1,
            "shift": jnp.zeros(2),
            "mean": jnp.eye(2),
            "log_variance": jnp.array(-1.0),
        },
    }


def players(name):
    make = {"lsgan": least_squares_players, "vae-gan": vae_gan_players}[name]
    return make(NETWORKS, lambda batch: batch["image"])


@pytest.mark.parametrize("name", ["lsgan", "vae-gan"])
def test_each_player_learns_from_its_own_loss_alone(name):
    critic, generator = players(name)
    loss = two_players(critic, generator, 2)
    first, second = (jax.jit(jax.grad(lambda p, u=u: loss(p, None, BATCH, KEY, u)[0]))(params()) for u in (0, 1))
    assert all((g == 0).all() for g in jax.tree.leaves(first["generator"]))
    assert np.abs(second["generator"]["shift"]).max() > 0
    alone = jax.grad(lambda p: critic(p, BATCH, jax.random.split(KEY)[0], 0)[0])(params())["critic"]
    for found in (first, second):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found["critic"], alone)


def test_least_squares_values_are_the_formula():
    critic, generator = players("lsgan")
    p = params()
    fake = NETWORKS.generate(p, NETWORKS.draw(BATCH, KEY), BATCH)
    real_scores, fake_scores = (np.asarray(NETWORKS.critic(p, x, BATCH)[0]) for x in (BATCH["image"], fake))
    expected = 0.5 * ((real_scores - 1) ** 2).mean() + 0.5 * (fake_scores**2).mean()
    assert float(critic(p, BATCH, KEY, 0)[0]) == pytest.approx(expected, rel=1e-5)
    assert float(generator(p, BATCH, KEY, 0)[0]) == pytest.approx(((fake_scores - 1) ** 2).mean(), rel=1e-5)


def test_the_encoder_never_sees_the_adversarial_gradient():
    def encoder_gradient(adversarial):
        weights = VaeGanWeights(kl=0.1, features=1.0, adversarial=adversarial)
        _, generator = vae_gan_players(NETWORKS, lambda batch: batch["image"], weights)
        return jax.grad(lambda p: generator(p, BATCH, KEY, 0)[0])(params())["generator"]

    without, much = encoder_gradient(0.0), encoder_gradient(10.0)
    np.testing.assert_allclose(without["mean"], much["mean"], atol=1e-6)
    assert np.abs(without["mean"]).max() > 0
    assert np.abs(without["shift"] - much["shift"]).max() > 1e-3


def test_vae_gan_terms_are_the_formula_and_need_an_encoder():
    _, generator = players("vae-gan")
    p = params()
    _, terms = generator(p, BATCH, KEY, 0)
    mean = np.asarray(BATCH["image"])
    assert float(terms["kl"]) == pytest.approx(0.5 * (mean**2 + np.exp(-1) + 1 - 1).sum(1).mean(), rel=1e-4)
    z = mean + np.exp(-0.5) * np.asarray(NETWORKS.draw(BATCH, jax.random.split(KEY)[0]))
    gain = np.array([1.0, 2.0])
    assert float(terms["features"]) == pytest.approx((((z * 0.1 - mean) * gain) ** 2).mean(), rel=1e-4)
    with pytest.raises(ValueError, match="encoder"):
        vae_gan_players(Networks(NETWORKS.draw, NETWORKS.generate, NETWORKS.critic), lambda batch: batch["image"])


@pytest.mark.parametrize("name", ["lsgan", "vae-gan"])
def test_generated_points_come_to_the_real_ones(name):
    critic, generator = players(name)
    loss = two_players(critic, generator, 1)
    adam = optax.adam(0.02, b1=0.5)
    optimizer = alternating(adam, adam, 1)

    def step(carry, number):
        p, state = carry
        key = jax.random.fold_in(KEY, number)
        gradient = jax.grad(lambda q: loss(q, None, BATCH, key, number)[0])(p)
        updates, state = optimizer.update(gradient, state, p)
        return (optax.apply_updates(p, updates), state), p["generator"]["shift"]

    _, shifts = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), jnp.arange(2000)))(params())
    # Players that move at once circle around the equilibrium: their mean lies there.
    np.testing.assert_allclose(shifts[1000:].mean(0), 0.3, atol=0.1)
