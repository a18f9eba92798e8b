"""Process settings: how many CPU devices, and who may decide otherwise."""

import os
import subprocess
import sys

import pytest

from brain_diffusion_jax.training.devices import host


@pytest.mark.parametrize(
    ("batch", "cores", "data", "fsdp", "count"),
    [
        (8, 2, -1, 1, 2),
        (1, 2, -1, 1, 1),  # nothing to share
        (9, 4, -1, 1, 3),
        (8, 64, -1, 1, host.MOST_CPU_DEVICES),
        (8, 2, 1, 1, 1),  # as told
        (8, 1, 4, 2, 8),
        (8, 4, -1, 2, 4),
        (6, 4, -1, 4, 4),  # the mesh refuses it later, by name
    ],
)
def test_cpu_devices_divide_the_batch(batch, cores, data, fsdp, count):
    assert host.cpu_devices(batch, cores, data, fsdp) == count


PROGRAM = """
import sys
from brain_diffusion_jax.training.devices import host
host.usable_cores = lambda: 2
host.prepare(int(sys.argv[1]))
import jax, jax.numpy as jnp
x = jnp.ones(8)
print(jax.device_count(), host.use_cores(4), jax.device_count())
"""


def devices(batch: int, **environment: str) -> str:
    plain = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(batch)],
        env={**plain, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_core_becomes_a_device_unless_the_user_or_a_started_jax_says_otherwise():
    assert devices(8) == "2 False 2"
    assert devices(1) == "1 False 1"
    assert devices(8, XLA_FLAGS="--xla_force_host_platform_device_count=4") == "4 False 4"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_memory_stays_with_the_process():
    program = """
import resource, sys
import numpy as np
from brain_diffusion_jax.training.devices import host
if sys.argv[1] == "keep":
    assert host.keep_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**25, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout
        )
        for how in ("keep", "plain")
    }
    assert faults["keep"] * 10 < faults["plain"], faults


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_kept_memory_goes_back_above_a_share_of_the_machine():
    program = """
import numpy as np
from brain_diffusion_jax.training.devices import host
host.keep_memory()
pieces = [np.ones(2**22, np.uint8) for _ in range(64)]  # 256 MiB, with gaps once every second piece is free
del pieces[::2]
before = host.held_bytes()
assert not host.release_memory(most=1.0)
assert host.held_bytes() > before - 2**20
assert host.release_memory(most=before / 2 / host.machine_bytes())
print((before - host.held_bytes()) / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 100 < float(done.stdout) < 200


def test_a_container_may_allow_less_than_the_machine_has(monkeypatch):
    whole = host.machine_bytes()
    monkeypatch.setattr(host.Path, "exists", lambda self: str(self) == "/sys/fs/cgroup/memory.max")
    monkeypatch.setattr(host.Path, "read_text", lambda self, **_: "1048576\n")
    assert host.machine_bytes() == 2**20 < whole
