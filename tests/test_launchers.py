"""The scripts that start a training on a cluster; stand-ins on this machine play the cluster's own commands."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import small_training
import yaml

from brain_diffusion_jax.training.run_folder import checkpoints, metrics

SCRIPTS = Path(__file__).parents[1] / "scripts"
# One task a rank, as srun starts them; the step's status is the worst.
SRUN = """
while [[ $1 == -* ]]; do shift; done
for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=0 "$@" & tasks+=($!); done
worst=0
for task in "${tasks[@]}"; do wait "$task"; status=$?; (( status > worst )) && worst=$status; done
exit $worst
"""
TWO_STEPS = [*small_training.OVERRIDES, "train.num_steps=2", "train.sample_every=0"]


class Cluster:
    """A folder of stand-ins at the head of PATH; `calls(name)`: the arguments of each call of one that only notes."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.notes = folder / "bin", folder / "notes"
        self.bin.mkdir()
        self.notes.mkdir()
        main = "import sys; from brain_diffusion_jax.cli.main import main; sys.exit(main())"
        self.stand_in("brain-diffusion", f'exec {shlex.quote(sys.executable)} -c "{main}" "$@"')
        self.env = {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        }

    def stand_in(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def noting(self, name: str, *statuses: int) -> None:
        """A stand-in that notes its arguments and exits with the next status (the last again and again)."""
        note, codes = self.notes / name, " ".join(map(str, statuses or (0,)))
        self.stand_in(
            name,
            f"printf '%q ' \"$@\" >> {note}; echo >> {note}\n"
            f"codes=({codes}); n=$(wc -l < {note}); last=$(( ${{#codes[@]}} - 1 ))\n"
            "exit ${codes[$(( n - 1 < last ? n - 1 : last ))]}",
        )

    def calls(self, name: str) -> list[list[str]]:
        note = self.notes / name
        return [shlex.split(line) for line in note.read_text().splitlines()] if note.exists() else []

    def run(self, *command: object, **env: str) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        return subprocess.run(words, env={**self.env, **env}, capture_output=True, text=True, timeout=900)


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


@pytest.fixture(scope="module")
def shard_folder(tmp_path_factory):
    return small_training.write_shards(tmp_path_factory.mktemp("launchers"))


def free_port(candidates: Iterable[int] = (0,)) -> int:
    """The first of the ports that nobody uses; 0 is any."""
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise OSError("no free port")


def slurm(job: int = 0, **more: str) -> dict[str, str]:
    return {"SLURM_JOB_ID": str(job), "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "127.0.0.1", **more}


@pytest.fixture
def config(tmp_path):
    return small_training.write_config(tmp_path)


@pytest.mark.slow  # two processes, and a UNet to compile
def test_slurm_trains_with_two_tasks(cluster, config, shard_folder, tmp_path):
    cluster.stand_in("srun", SRUN)
    cluster.noting("scontrol")
    # JAX takes the coordinator's port from the job's number: 61440 + number modulo 4096.
    job = free_port(range(61441, 65536)) - 61440
    command = ["bash", SCRIPTS / "train_slurm.sh", config, f"data.shards={shard_folder}", *TWO_STEPS]
    done = cluster.run(*command, "--run", tmp_path / "run", **slurm(job))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [row["step"] for row in metrics.read_jsonl(tmp_path / "run")] == [1, 2]
    assert checkpoints.saved_steps(tmp_path / "run") == [2]
    # Bad input is no reason to start again.
    done = cluster.run(*command, "data.batch_size=5", "--run", tmp_path / "bad", **slurm(job))
    assert done.returncode == 2, done.stderr[-3000:]
    assert "batch_size: found 5" in done.stderr
    assert cluster.calls("scontrol") == []


@pytest.mark.parametrize(
    ("status", "restarts", "requeued"), [(75, "0", True), (1, "3", True), (75, "20", False), (130, "0", False)]
)
def test_slurm_requeues_what_can_go_on(cluster, status, restarts, requeued):
    cluster.noting("srun", status)
    cluster.noting("scontrol")
    done = cluster.run("bash", SCRIPTS / "train_slurm.sh", "a config.py", **slurm(7, SLURM_RESTART_COUNT=restarts))
    assert done.returncode == status
    (started,) = cluster.calls("srun")
    assert started[1:] == ["brain-diffusion", "train", "a config.py", "--cluster", "slurm"]
    assert cluster.calls("scontrol") == ([["requeue", "7"]] if requeued else [])


@pytest.mark.slow  # two processes, and a UNet to compile
def test_a_jobset_trains_with_two_pods(cluster, config, shard_folder, tmp_path):
    job = yaml.safe_load((SCRIPTS / "train_gke.yaml").read_text())["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    told = {entry["name"]: entry["value"] for entry in container["env"]}
    assert job["completionMode"] == "Indexed"
    assert told["PROCESS_COUNT"] == str(job["parallelism"]) == str(job["completions"])
    places = {
        "/configs/oasis/diffusion.py": config,
        "/data/shards/oasis": shard_folder,
        "/data/runs/oasis": tmp_path / "run",
    }
    words = [*container["command"], *container["args"]]
    for there, here in places.items():
        assert any(there in word for word in words)
        words = [word.replace(there, str(here)) for word in words]
    words[3:3] = TWO_STEPS
    # Two pods, on this machine; JobSet's DNS name does not lead here.
    here = {"PROCESS_COUNT": "2", "COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"}
    env = {**cluster.env, **told, **here, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    errors = [(tmp_path / f"pod{index}.err").open("w+") for index in (0, 1)]
    pods = [
        subprocess.Popen(words, env={**env, "JOB_COMPLETION_INDEX": str(index)}, stderr=errors[index])
        for index in (0, 1)
    ]
    try:
        codes = [pod.wait(900) for pod in pods]
    finally:
        for pod in pods:
            pod.kill()
    assert codes == [0, 0], (tmp_path / "pod0.err").read_text()[-3000:]
    assert [row["step"] for row in metrics.read_jsonl(tmp_path / "run")] == [1, 2]


@pytest.mark.parametrize(("statuses", "status", "starts"), [((75, 1, 0), 0, 3), ((2,), 2, 1), ((75,), 75, 4)])
def test_a_tpu_pod_is_started_again_until_it_is_done(cluster, statuses, status, starts):
    cluster.noting("gcloud", *statuses)
    cluster.noting("sleep")
    cluster.noting("brain-diffusion")
    tpu = {"TPU": "pod", "ZONE": "here", "MAX_RESTARTS": "4"}
    done = cluster.run("bash", SCRIPTS / "train_tpu.sh", "a config.py", "--run", "/mnt/it's", **tpu)
    assert done.returncode == status
    calls = cluster.calls("gcloud")
    assert len(calls) == starts
    assert len(cluster.calls("sleep")) == starts - (status != 75)
    assert calls[0][:9] == ["compute", "tpus", "tpu-vm", "ssh", "pod", "--zone", "here", "--worker=all", calls[0][8]]
    # What every host is told to run, after two shells.
    cluster.run("bash", "-c", calls[0][8].removeprefix("--command="))
    assert cluster.calls("brain-diffusion") == [
        ["train", "a config.py", "--run", "/mnt/it's", "--cluster", "tpu", "--quiet"]
    ]
