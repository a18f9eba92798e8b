"""A run that was killed or stopped equals one that was not, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from brain_diffusion_jax.training.run_folder import checkpoints, metrics

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
KILLS = 10
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    flags = "--xla_backend_optimization_level=0"
    env = {**os.environ, "PYTHONPATH": PATHS, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "XLA_FLAGS": flags}
    command = [sys.executable, HERE / "killed_run.py", folder, str(KILLS)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout), done.stderr


def everything(run: Path) -> dict[str, np.ndarray]:
    """All arrays of the last checkpoint, and what stands beside them."""
    step = checkpoints.saved_steps(run)[-1]
    folder = run / "checkpoints" / str(step)
    trees = {name: checkpoints.numpy_tree(folder / name) for name in ("params", "ema", "rest")}
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(trees)}


def losses(run: Path) -> list[tuple]:
    return [(r["step"], r["loss"], r.get("validation_loss")) for r in metrics.read_jsonl(run)]


@pytest.mark.parametrize("name", ["killed", "stopped"])
def test_the_end_is_the_same_bit_for_bit(runs, name):
    folder, report, errors = runs
    assert report["codes"]["whole"] == report["codes"]["killed"] == report["codes"]["after the stop"] == 0, errors
    whole, other = everything(folder / "whole"), everything(folder / name)
    assert whole.keys() == other.keys()
    for path, leaf in whole.items():
        np.testing.assert_array_equal(leaf, other[path], err_msg=path)
    assert losses(folder / name) == losses(folder / "whole")
    assert [row[0] for row in losses(folder / name)] == list(range(1, 25))


def test_sigterm_saves_and_asks_to_be_started_again(runs):
    _, report, errors = runs
    assert report["codes"]["stopped"] == 75, errors
    assert report["stopped at"]
    assert 0 < report["stopped at"][-1] < 24


def test_a_kill_leaves_only_whole_checkpoints(runs):
    folder, report, errors = runs
    assert report["codes"]["killed in a save"] == -signal.SIGKILL, errors
    assert report["half written"]
    assert not list((folder / "killed" / "checkpoints").glob("*tmp*"))
    assert report["reached"], "every kill came before the first save"
    assert report["reached"] == sorted(report["reached"])
    assert report["reached"][-1] < 24, "the run was over before the last kill"
    steps = checkpoints.saved_steps(folder / "killed")
    assert steps[-1] == 24
    assert all((folder / "killed" / "checkpoints" / str(s) / "params").is_dir() for s in steps)
