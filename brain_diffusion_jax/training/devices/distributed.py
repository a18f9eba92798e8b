"""Several processes, one job: finding each other, agreeing, and ending together.

A process that dies is noticed within HEARTBEAT_S seconds, whereupon the others abort (exit status not 0)
and the launcher starts the job again from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from dataclasses import dataclass
from typing import Any

import jax

from brain_diffusion_jax.errors import InputError

HEARTBEAT_S = 60
CONNECT_S = 300
_BARRIERS = itertools.count()
METHODS = ("off", "auto", "slurm", "tpu", "k8s", "explicit")


@dataclass(frozen=True)
class Cluster:
    """How processes find each other.

    method: off (one process), explicit (coordinator "host:port", process_count, process_id), slurm, tpu
    (GKE or Cloud TPU metadata), k8s (JobSet), or auto: by the environment's variables, else off.
    """

    method: str = "auto"
    coordinator: str = ""
    process_count: int = 0
    process_id: int = -1
    heartbeat_s: int = HEARTBEAT_S
    connect_s: int = CONNECT_S

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError("command line", "--cluster", self.method, f"one of {', '.join(METHODS)}")
        whole = self.coordinator and 0 <= self.process_id < self.process_count
        if self.method == "explicit" and not whole:
            found = f"{self.coordinator or 'no coordinator'}, process {self.process_id} of {self.process_count}"
            raise InputError("command line", "--coordinator", found, "HOST:PORT, a count and an id below it")


def detect(environment: dict[str, str]) -> str:
    """The method an environment calls for: slurm, k8s, tpu or off."""
    if int(environment.get("SLURM_NTASKS", "1") or 1) > 1 and "SLURM_PROCID" in environment:
        return "slurm"
    if "JOB_COMPLETION_INDEX" in environment and environment.get("JOBSET_NAME"):
        return "k8s"
    if len(environment.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1:
        return "tpu"
    return "off"


def jobset_arguments(environment: dict[str, str]) -> dict[str, Any]:
    """Coordinator and ids from a JobSet's variables; see scripts/train_gke.yaml."""
    name, replicated = environment["JOBSET_NAME"], environment.get("REPLICATED_JOB_NAME", "workers")
    return {
        "coordinator_address": environment.get("COORDINATOR_ADDRESS") or f"{name}-{replicated}-0-0.{name}:8476",
        "num_processes": int(environment.get("PROCESS_COUNT", "0") or 0),
        "process_id": int(environment["JOB_COMPLETION_INDEX"]),
    }


def initialize(cluster: Cluster, environment: dict[str, str] | None = None) -> None:
    """Connect this process to the others; nothing for a single process.

    Raises InputError where the processes do not come together within cluster.connect_s: one is missing,
    or hosts disagree on how many there are.
    """
    env = dict(os.environ) if environment is None else environment
    method = detect(env) if cluster.method == "auto" else cluster.method
    if method == "off":
        return
    arguments: dict[str, Any] = {
        "initialization_timeout": cluster.connect_s,
        "heartbeat_timeout_seconds": cluster.heartbeat_s,
    }
    expected = cluster.process_count
    if method == "explicit":
        arguments |= {
            "coordinator_address": cluster.coordinator,
            "num_processes": cluster.process_count,
            "process_id": cluster.process_id,
        }
    elif method == "slurm":
        arguments["cluster_detection_method"] = "slurm"
        expected = expected or int(env["SLURM_NTASKS"])
    elif method == "k8s":
        arguments |= jobset_arguments(env)
        expected = arguments["num_processes"]
    if cluster.process_count and expected != cluster.process_count:
        raise InputError("cluster", "number of processes", cluster.process_count, f"{expected}, as {method} says")
    if "cpu" in os.environ.get("JAX_PLATFORMS", "") or not env.get("CUDA_VISIBLE_DEVICES", "x"):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(**arguments)
    except (RuntimeError, ValueError) as error:
        message = f"they did not come together within {cluster.connect_s} s ({str(error).splitlines()[0]})"
        raise InputError(
            "cluster", "processes", message, f"{expected or 'all'} processes, each with its own id"
        ) from error
    if expected and jax.process_count() != expected:
        raise InputError("cluster", "number of processes", jax.process_count(), expected)


def barrier(name: str, timeout_s: int = 1800) -> None:
    """Wait for every process, through the coordinator; nothing for a single one.

    Also before the first use of a program across processes: Gloo (CPU) gives the others 30 s to arrive,
    and compiling can take one of them longer than that.
    """
    if jax.process_count() > 1:
        from jax._src import distributed as internal

        client: Any = internal.global_state.client
        client.wait_at_barrier(f"brain_diffusion/{name}/{next(_BARRIERS)}", timeout_s * 1000)


def require_agreement(facts: Any) -> None:
    """Raise InputError unless every process has the same facts (anything JSON can hold)."""
    if jax.process_count() == 1:
        return
    import numpy as np
    from jax.experimental import multihost_utils

    barrier("agreement")
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).digest()
    mine = np.frombuffer(digest[:8], np.int32)
    everyone = np.asarray(multihost_utils.process_allgather(mine))
    different = [i for i, row in enumerate(everyone) if not np.array_equal(row, everyone[0])]
    if different:
        raise InputError("cluster", "config", f"another one on processes {different}", "the same on every process")
