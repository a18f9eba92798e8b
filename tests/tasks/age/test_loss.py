"""What the age regressor learns from: losses, weights, frozen layers."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.deep_brain_net import make_age_network
from brain_diffusion_jax.tasks import labels
from brain_diffusion_jax.tasks.age import loss as age_loss
from brain_diffusion_jax.training.state import create
from brain_diffusion_jax.training.step import build_step

SCHEMA = Schema.from_json(
    [{"name": "sex", "values": ("F", "M")}, {"name": "age", "unit": "years", "low": 20, "high": 100}]
)
TARGET = age_loss.find_target(SCHEMA)


def network_with(**settings):
    return make_age_network(width=0.1, dense=(4,), dropout=0.0, target_mean=50.0, target_scale=10.0, **settings)


def batch_of(count: int = 6):
    images = np.random.default_rng(0).integers(0, 255, (count, 32, 24, 1), np.uint8)
    values = np.stack([np.zeros(count), np.linspace(0, 1, count)], 1).astype(np.float32)
    return {"image": images, "values": values, "present": np.ones((count, 2), bool), "index": np.arange(count)}


def test_the_target_is_found_by_name_and_decoded():
    assert TARGET.column == 1
    np.testing.assert_allclose(TARGET.years(jnp.array([[0, 0.0], [1, 0.25]])), [20, 40])
    with pytest.raises(InputError, match="continuous"):
        age_loss.find_target(SCHEMA, "sex")


@pytest.mark.parametrize("name", age_loss.LOSSES)
def test_losses_are_least_at_the_truth(name):
    bins = 33 if name == "distribution" else 0
    network = network_with(bins=bins, bin_low=20.0, bin_high=100.0)
    how = age_loss.AgeLoss(loss=name)
    years = jnp.array([44.0])

    def loss(guess):
        raw = (guess - 50.0) / 10 if not bins else -((network.bin_centres() - guess) ** 2) / (2 * how.label_sigma**2)
        return age_loss.sample_loss(network, raw.reshape(1, -1), years, how)[0]

    values = np.array([loss(jnp.float32(g)) for g in (24.0, 39.0, 44.0, 49.0, 64.0)])
    assert values.argmin() == 2
    assert (np.diff(values[:3]) < 0).all()
    assert (np.diff(values[2:]) > 0).all()
    exact = {"mse": 0.25, "l1": 0.5, "huber": 0.125}
    if name in exact:
        assert values[1] == pytest.approx(exact[name])


def test_rare_ages_weigh_more_when_balanced():
    ages = np.repeat([22.0, 80.0], [90, 10])
    weights = age_loss.age_weights(ages, 1.0, 20, 100)
    assert weights[12] == pytest.approx(9 * weights[0], rel=1e-5)
    assert (90 * weights[0] + 10 * weights[12]) / 100 == pytest.approx(1.0)
    assert np.ptp(age_loss.age_weights(ages, 0.0, 20, 100)) == 0


def test_a_step_learns_holds_the_frozen_and_leaves_out_absent_ages():
    network = network_with()
    how = age_loss.AgeLoss(frozen=("conv0", "norm0"))
    batch = batch_of()
    variables = labels.make_init(network, (32, 24, 1))(jax.random.key(0))
    tx = optax.adam(1e-2)
    step = jax.jit(build_step(age_loss.make_loss(network, TARGET, how), tx, ema_decay=0.0))
    state = create(variables, tx)
    first, _ = step(state, batch, jax.random.key(1))
    for name in ("conv0", "norm0", "conv1"):
        same = jax.tree.map(np.array_equal, state.params["trunk"][name], first.params["trunk"][name])
        assert all(jax.tree.leaves(same)) == (name != "conv1")
    losses = []
    state = first
    for _ in range(25):
        state, metrics = step(state, batch, jax.random.key(1))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]

    # An absent age changes neither the loss nor the gradient, whatever number stands in its place.
    loss = age_loss.make_loss(network, TARGET, age_loss.AgeLoss())
    absent = batch["present"].copy()
    absent[0, 1] = False
    results = []
    for value in (0.1, 0.9):
        values = batch["values"].copy()
        values[0, 1] = value
        changed = {**batch, "values": values, "present": absent}
        results.append(
            loss(variables["params"], {"batch_stats": variables["batch_stats"]}, changed, jax.random.key(0), 0)[0]
        )
    assert results[0] == results[1]


DEVICES = """
import jax, numpy as np, optax
from tests.tasks.age.test_loss import TARGET, batch_of, network_with
from brain_diffusion_jax.tasks import labels
from brain_diffusion_jax.tasks.age import loss as age_loss
from brain_diffusion_jax.training.state import create
from brain_diffusion_jax.training.step import build_step

def after(axis_name):
    network, tx = network_with(axis_name=axis_name), optax.sgd(1e-3)
    variables = labels.make_init(network_with(), (32, 24, 1))(jax.random.key(0))
    options = {"ema_decay": 0.0, "axis_name": axis_name}
    step = build_step(age_loss.make_loss(network, TARGET, age_loss.AgeLoss()), tx, **options)
    state, batch, key = create(variables, tx), batch_of(8), jax.random.key(1)
    if axis_name is None:
        state, _ = jax.jit(step)(state, batch, key)
        return state
    halves = jax.tree.map(lambda a: np.asarray(a).reshape(2, 4, *a.shape[1:]), batch)
    states = jax.tree.map(lambda a: jax.numpy.stack([a, a]), state)
    states, _ = jax.pmap(step, axis_name=axis_name, in_axes=(0, 0, None))(states, halves, key)
    return jax.tree.map(lambda a: a[0], states)

def sharded():
    network, tx = network_with(), optax.sgd(1e-3)
    state = create(labels.make_init(network, (32, 24, 1))(jax.random.key(0)), tx)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    batch = jax.device_put(batch_of(8), place)
    step = build_step(age_loss.make_loss(network, TARGET, age_loss.AgeLoss()), tx, ema_decay=0.0)
    return jax.jit(step)(state, batch, jax.random.key(1))[0]

one = after(None)
for other in (after("data"), sharded()):
    for a, b in zip(jax.tree.leaves((one.params, one.model_state)), jax.tree.leaves((other.params, other.model_state))):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
assert float(abs(one.model_state["batch_stats"]["trunk"]["norm0"]["mean"]).max()) > 1e-3
print("equal")
"""


def test_batch_statistics_are_those_of_the_whole_batch_under_pmap_and_sharding():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "equal", done.stderr[-3000:]


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="mse, l1"):
        age_loss.AgeLoss(loss="mae")
    with pytest.raises(InputError, match="balance"):
        age_loss.AgeLoss(balance=2.0)
