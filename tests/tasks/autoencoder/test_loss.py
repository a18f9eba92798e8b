"""The loss of an autoencoder: its stages, its terms, who is moved when, and what validation says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.tasks.autoencoder import collapse, loss
from brain_diffusion_jax.tasks.autoencoder.augmentation import IntensityAndPlace
from brain_diffusion_jax.tasks.autoencoder.config import AutoencoderLoss, Crops, RangedAutoencoder
from brain_diffusion_jax.tasks.autoencoder.perceptual_network import PerceptualNetwork
from brain_diffusion_jax.training import state, step

CONFIG = RangedAutoencoder(
    channels=(8,), num_res_blocks=1, attention_levels=False, latent_channels=2, norm_num_groups=4
)
STILL = IntensityAndPlace(mirror=0, share=0)


def learning(crops=Crops(), **weights) -> loss.Learning:  # noqa: B008
    return loss.Learning(AutoencoderLoss(**weights), crops, STILL, 10)


@pytest.mark.parametrize(
    ("crops", "weights", "expected"),
    [
        (Crops(), {}, [(0, (0, False))]),
        (Crops(6, 0.8), {}, [(0, (6, False)), (8, (0, False))]),
        (Crops(6, 0.8), {"adversarial": 1.0}, [(0, (6, False)), (2, (6, True)), (8, (0, True))]),
        (Crops(), {"adversarial": 1.0, "adversarial_from": 0.0}, [(0, (0, True))]),
        (
            Crops(6, 0.2),
            {"adversarial": 1.0, "adversarial_from": 0.5},
            [(0, (6, False)), (2, (0, False)), (5, (0, True))],
        ),
    ],
)
def test_crops_come_first_and_the_discriminator_after_its_warm_up(crops, weights, expected):
    assert list(loss.plan_stages(learning(crops, **weights))) == expected


def test_the_value_is_the_weighted_sum_of_its_terms_on_a_draw():
    module = Autoencoder(CONFIG)
    how = learning(l1=2.0, mse=3.0, laplacian=0.5, kl=1e-3)
    params = loss.make_init(module, None, (8, 6, 1))(jax.random.key(0))["params"]
    batch = {**next(tiny.Endless(4)), "index": jnp.arange(4)}
    arguments = {}, batch, jax.random.key(1), jnp.int32(0)
    value, (metrics, _) = jax.jit(loss.make_loss(module, None, how))(params, *arguments)
    weights = {"l1": 2.0, "mse": 3.0, "laplacian": 0.5, "kl": 1e-3}
    assert metrics.keys() == weights.keys()
    assert float(value) == pytest.approx(sum(weights[k] * float(v) for k, v in metrics.items()), rel=1e-5)
    # The mean of the posterior is nearer than a draw of it; validation takes the mean.
    measured = jax.jit(loss.make_measure(module))(params, {}, batch, jax.random.key(0))
    assert {k for k in measured if k.startswith("latent")} == {
        f"latent_{n}_{k}" for n in ("kl", "spread") for k in "01"
    }
    nats = np.stack([measured["latent_kl_0"], measured["latent_kl_1"]]).mean() * (4 * 3 * 2)
    assert float(metrics["kl"]) == pytest.approx(nats, rel=1e-4)


def test_features_of_a_network_are_a_term_and_of_volumes_those_of_slices():
    seen = []

    def features(images):
        seen.append(images.shape)
        return [images]

    for size, flat in (((8, 6), (4, 8, 6, 1)), ((8, 6, 4), (8, 6, 4, 1))):
        module = Autoencoder(CONFIG, len(size))
        compared = PerceptualNetwork(features, True, "")
        how = loss.Learning(AutoencoderLoss(perceptual=2.0, perceptual_run="x"), Crops(), STILL, 10, None, compared)
        params = jax.eval_shape(loss.make_init(module, None, (*size, 1)), jax.random.key(0))["params"]
        batch = {"image": jnp.ones((4, *size, 1)), "index": jnp.arange(4)}
        arguments = {}, batch, jax.random.key(1), jnp.int32(0)
        _, (metrics, _) = jax.eval_shape(loss.make_loss(module, None, how), params, *arguments)
        assert "perceptual" in metrics
        assert flat in seen


def test_the_discriminator_stands_still_until_its_turn():
    made = tiny.autoencoder_task()  # it joins at update 1
    one = jax.jit(step.build_step(made.make_loss(None), made.optimizer))
    now = state.create(made.init(jax.random.key(0)), made.optimizer)
    data, moved = tiny.Endless(), []
    for _ in range(2):
        batch = {**next(data), "index": np.arange(tiny.BATCH, dtype=np.int32)}
        after, metrics = one(now, batch, jax.random.key(0))
        pairs = {n: (jax.tree.leaves(now.params[n]), jax.tree.leaves(after.params[n])) for n in now.params}
        moved.append({n: any(bool((a != b).any()) for a, b in zip(*pair, strict=True)) for n, pair in pairs.items()})
        assert (float(metrics["critic"]) > 0) is (len(moved) == 2)
        now = after
    assert moved == [{"critic": False, "generator": True}, {"critic": True, "generator": True}]


def test_collapsed_channels_are_told_and_end_a_run_where_all_are(caplog):
    assert collapse.collapsed([1.0, 0.001, 1.0], [5.0, 5.0, 0.05]) == [1, 2]
    assert collapse.collapsed([float("nan")], [1.0]) == [0]
    guard = collapse.make_guard(2, begin=10)
    bad = {"latent_kl_0": 0.0, "latent_kl_1": 0.0, "latent_spread_0": 0.0, "latent_spread_1": 0.0}
    guard(9, bad)
    with pytest.raises(InputError, match="every channel is collapsed"):
        guard(10, bad)
    guard(10, {**bad, "latent_kl_0": 2.0, "latent_spread_0": 3.0})
    assert "collapsed latent channels (1: 0 nats" in caplog.text


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"l1": 0, "laplacian": 0}, "loss"), ({"kl": -1}, "loss.kl"), ({"perceptual": 1}, "loss.perceptual_run")],
)
def test_weights_that_cannot_be_are_named(settings, field):
    with pytest.raises(InputError, match=field):
        AutoencoderLoss(**settings)
