"""Two real processes with two devices each: equal to one, stopped together, dead together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from two_processes import HEARTBEAT_S

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.devices import distributed
from brain_diffusion_jax.training.run_folder import checkpoints, metrics

HERE = Path(__file__).parent.parent
PATHS = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def start():
    """Starts both processes of a run; what still lives at the end is killed."""
    alive: list[subprocess.Popen] = []

    def begin(run: Path, delay: float) -> list[subprocess.Popen]:
        both = start_both(run, delay)
        alive.extend(both)
        return both

    yield begin
    for process in alive:
        if process.poll() is None:
            process.kill()
        process.wait()


def start_both(run: Path, delay: float) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    env = {**os.environ, "PYTHONPATH": PATHS, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    run.mkdir()
    return [
        subprocess.Popen(
            [sys.executable, HERE / "two_processes.py", run, str(port), str(process), str(delay)],
            env=env,
            stderr=(run.parent / f"{run.name}_{process}.err").open("w"),
        )
        for process in (0, 1)
    ]


def when(happened: Callable[[], object], timeout: float = 500.0) -> None:
    begin = time.monotonic()
    while not happened():
        assert time.monotonic() - begin < timeout, "never came so far"
        time.sleep(0.1)


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in metrics.read_jsonl(run)]


def go_on_alone(run: Path) -> list[float]:
    """The losses of a run that one process brings to its end, with the settings of two_processes."""
    tiny.train(run, config={}, seed=5, num_steps=12, validate_every=6, checkpoint_every=4)
    return losses(run)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> list[float]:
    return go_on_alone(tmp_path_factory.mktemp("one") / "run")


def test_two_processes_stop_together_and_one_goes_on(tmp_path, start, uninterrupted):
    # A signal to either process stops both after the same step, with a checkpoint.
    run = tmp_path / "two"
    both = start(run, delay=0.3)
    when(lambda: len(losses(run)) > 1)
    both[1].send_signal(signal.SIGTERM)
    codes = [p.wait(240) for p in both]
    assert codes == [75, 75], (tmp_path / "two_0.err").read_text()[-2000:]
    assert 0 < len(losses(run)) < 12
    assert go_on_alone(run) == pytest.approx(uninterrupted, abs=1e-5)
    assert len(uninterrupted) == 12


def test_a_dead_process_ends_the_other_and_the_run_goes_on_from_its_checkpoint(tmp_path, start, uninterrupted):
    run = tmp_path / "dead"
    both = start(run, delay=0.3)
    when(lambda: checkpoints.saved_steps(run))
    both[1].kill()
    killed = time.monotonic()
    assert both[0].wait(10 * HEARTBEAT_S) != 0
    assert time.monotonic() - killed < 2 * HEARTBEAT_S + 10
    assert 0 < checkpoints.saved_steps(run)[-1] < 12
    assert go_on_alone(run) == pytest.approx(uninterrupted, abs=1e-5)


def test_the_environment_tells_the_cluster():
    assert distributed.detect({}) == "off"
    assert distributed.detect({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) == "off"
    assert distributed.detect({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}) == "slurm"
    assert distributed.detect({"TPU_WORKER_HOSTNAMES": "a,b"}) == "tpu"
    jobset = {"JOB_COMPLETION_INDEX": "3", "JOBSET_NAME": "brain", "PROCESS_COUNT": "4"}
    assert distributed.detect(jobset) == "k8s"
    assert distributed.jobset_arguments(jobset) == {
        "coordinator_address": "brain-workers-0-0.brain:8476",
        "num_processes": 4,
        "process_id": 3,
    }


def test_a_wrong_number_of_processes_is_refused():
    with pytest.raises(InputError, match="HOST:PORT"):
        distributed.Cluster("explicit", "localhost:1", 2, 2)
    disagreeing = {"JOB_COMPLETION_INDEX": "0", "JOBSET_NAME": "brain", "PROCESS_COUNT": "4"}
    with pytest.raises(InputError, match="number of processes: found 2; expected 4"):
        distributed.initialize(distributed.Cluster("k8s", process_count=2), disagreeing)
