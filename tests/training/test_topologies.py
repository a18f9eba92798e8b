"""The same training on every layout of devices; one process with eight simulated ones, started once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = ("diffusion", "age", "norm", "class", "gan", "vae-gan", "autoencoder", "latent_diffusion")
HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
# Little optimisation: these programs are compiled once and run for four steps.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured():
    env = {**os.environ, "XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu", "PYTHONPATH": PATHS}
    done = subprocess.run([sys.executable, HERE / "topologies.py"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", [*KINDS, "few labels: age", "few labels: class"])
def test_losses_do_not_depend_on_the_layout(measured, kind):
    found = {k: v for k, v in measured["losses"].items() if k.startswith(kind)}
    assert len(found) >= 3
    for name, losses in found.items():
        assert losses == pytest.approx(measured["losses"][f"{kind} one"], abs=1e-5), name


def test_losses_change_at_all(measured):
    losses = measured["losses"]["diffusion one"]
    assert len(set(losses)) == len(losses)


def test_initial_values_do_not_depend_on_the_sharding(measured):
    assert measured["losses"]["init is the same"] == [1.0]


def test_a_checkpoint_goes_on_in_another_layout(measured):
    assert len(measured["restored"]) == 4
    for name, losses in measured["restored"].items():
        assert losses == pytest.approx(measured["losses"]["diffusion one"], abs=1e-5), name


def test_fsdp_keeps_a_seventh_of_parameters_and_optimizer(measured):
    costs = measured["costs"]
    assert costs["fsdp8"]["bytes"] <= costs["data8"]["bytes"] / 7


def test_one_reduction_of_the_gradients_and_nothing_else_that_grows(measured):
    gradient = 4 * measured["costs"]["data8"]["parameters"]
    few = 4 * 64  # scalars: losses, norms
    data = measured["costs"]["data8"]["collectives"]
    assert set(data) == {"all-reduce"}
    assert gradient <= data["all-reduce"] <= gradient + few
    # XLA for CPU writes a reduce-scatter as all-reduce + slice; weights are gathered once.
    fsdp = measured["costs"]["fsdp8"]["collectives"]
    assert set(fsdp) <= {"all-reduce", "reduce-scatter", "all-gather"}
    reduced = fsdp.get("all-reduce", 0) + fsdp.get("reduce-scatter", 0)
    assert gradient - few <= reduced <= gradient + 8 * few
    assert fsdp["all-gather"] <= gradient + few


def test_operations_are_counted_over_all_devices(measured):
    costs = measured["costs"]
    assert costs["data8"]["flops"] == pytest.approx(costs["fsdp8"]["flops"])
    # Width 128, 8 x 6 pixels, batch 8: three convolutions forward, gradients of weights and of all but the first input.
    pixels = 8 * 8 * 6
    forward = 2 * pixels * 9 * (1 * 128 + 128 * 128 + 128 * 1)
    backward = 2 * forward - 2 * pixels * 9 * 128
    told = 2 * 8 * 3 * 128 * 2
    assert costs["data8"]["flops"] == pytest.approx(forward + backward + told, rel=0.02)
