"""Two players: who is held still, and when the generator moves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brain_diffusion_jax.losses import adversarial


def test_each_player_holds_the_other_still():
    """Both losses are the product of the two numbers: one goes up the other's value, nothing else."""
    loss = adversarial.two_players(
        lambda p, batch, key, update: (p["critic"] * p["generator"], {}),
        lambda p, batch, key, update: (-p["critic"] * p["generator"], {"asked": jnp.float32(1.0)}),
        critic_steps=2,
    )
    params = {"critic": jnp.float32(3.0), "generator": jnp.float32(7.0)}
    gradient = jax.grad(loss, has_aux=True)
    for update, generator in ((0, 0.0), (1, -3.0), (2, 0.0)):
        found, (metrics, _) = gradient(params, {}, None, jax.random.key(0), jnp.int32(update))
        assert (float(found["critic"]), float(found["generator"])) == (7.0, generator)
        assert float(metrics["generator"]) == (-21.0 if update == 1 else 0.0)
        assert float(metrics["asked"]) == (update == 1)


def test_players_that_move_together_may_share_their_draws():
    def drawn(p, batch, key, update):
        return p["critic"] * 0.0, {"critic_draw": jax.random.uniform(key)}

    def other(p, batch, key, update):
        return p["generator"] * 0.0, {"generator_draw": jax.random.uniform(key)}

    params = {"critic": jnp.float32(1.0), "generator": jnp.float32(1.0)}
    for same in (True, False):
        loss = adversarial.two_players(drawn, other, 1, same_draws=same)
        _, (metrics, _) = loss(params, {}, None, jax.random.key(0), jnp.int32(0))
        assert (float(metrics["critic_draw"]) == float(metrics["generator_draw"])) is same


@pytest.mark.parity
def test_least_squares_are_those_of_monai():
    monai = pytest.importorskip("monai.losses")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    real, fake = (rng.normal(size=(2, 1, 4, 3)).astype(np.float32) for _ in range(2))
    theirs = monai.PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
    of_fake, of_real = (
        float(theirs(torch.tensor(x), target_is_real=t, for_discriminator=True))
        for x, t in ((fake, False), (real, True))
    )
    mine = adversarial.least_squares_critic(jnp.asarray(real), jnp.asarray(fake))
    assert float(mine) == pytest.approx(0.5 * (of_fake + of_real), rel=1e-6)
    wanted = float(theirs(torch.tensor(fake), target_is_real=True, for_discriminator=False))
    assert float(adversarial.least_squares_generator(jnp.asarray(fake))) == pytest.approx(wanted, rel=1e-6)


def test_the_generator_is_updated_in_every_second_step():
    sgd = optax.sgd(1.0)
    optimizer = adversarial.alternating(sgd, sgd, 2)
    params = {"critic": jnp.ones(2), "generator": jnp.ones(2)}
    state, moved = optimizer.init(params), []
    for _ in range(4):
        updates, state = optimizer.update(params, state, params)
        moved.append([bool(jnp.any(updates[name] != 0)) for name in ("critic", "generator")])
    assert moved == [[True, False], [True, True]] * 2


def test_a_linear_score_has_the_penalty_of_its_slope():
    x = jnp.zeros((3, 2, 2, 1))
    assert float(adversarial.gradient_penalty(lambda x: 1.5 * x.sum((1, 2, 3)), x)) == pytest.approx(4.0)  # slope 3
