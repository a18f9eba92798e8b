"""Settings of this process that must hold before JAX starts; commands call `prepare`, libraries decide for themselves.

XLA's CPU programs for training leave cores idle (most of their convolutions run on one thread) and return
their memory to the system after every step, to fault it in again page by page at the next. One JAX device
a core and an allocator that keeps its pages make a step of a small network 1.5 to 2 times faster;
scripts/bench_train.py measures it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import jax

from brain_diffusion_jax.training.devices import compile_cache

MOST_CPU_DEVICES = 8  # each holds parameters and optimizer state
MOST_MEMORY = 0.5  # of the machine, before freed memory goes back to it
# XLA aborts when one CPU device waits longer for another: after Ctrl-Z, or on a starved machine.
_PATIENCE = "xla_cpu_collective_call_terminate_timeout_seconds"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # <malloc.h> of glibc


def prepare(batch_size: int | None = None, *, accumulation: int = 1, data_parallel: int = -1, fsdp: int = 1) -> None:
    """Compile cache, allocator and, on a machine without an accelerator, CPU devices.

    batch_size: which they must divide; None where batches of any size are spread, as in sampling.
    """
    compile_cache.enable()
    keep_memory()
    if batch_size is None:
        use_cores(min(usable_cores(), MOST_CPU_DEVICES))
        return
    use_cores(cpu_devices(batch_size // max(accumulation, 1), usable_cores(), data_parallel, fsdp))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_devices(batch_size: int, cores: int, data_parallel: int = -1, fsdp: int = 1) -> int:
    """How many CPU devices a mesh of data_parallel (-1: as many as help) x fsdp gets: they must divide a batch."""
    if data_parallel > 0:
        return data_parallel * fsdp
    most = max(min(cores, MOST_CPU_DEVICES) // fsdp, 1)
    return fsdp * max(n for n in range(1, most + 1) if n == 1 or batch_size % (n * fsdp) == 0)


def use_cores(count: int) -> bool:
    """Show the CPU as `count` JAX devices; False where the count is already set.

    It is set where the user chose one (XLA_FLAGS, JAX_NUM_CPU_DEVICES), where several processes run together,
    and where JAX has started. Accelerators are untouched: JAX takes them before the CPU.
    """
    if "host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ:
        return False
    if count == 1 or jax.distributed.is_initialized():
        return False
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # JAX has started
        return False
    if _PATIENCE not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{_PATIENCE}=86400".strip()
    return True


def keep_memory() -> bool:
    """Tell glibc to keep freed memory for the next step instead of unmapping it; False on other systems.

    A training step on the CPU allocates the same temporary gigabytes every time. Gaps between what lives longer
    can double what is held: `release_memory` gives those back.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 * 2**20), (_M_ARENA_MAX, 1))
    taken = [mallopt(name, value) for name, value in settings]
    return all(taken)


def release_memory(most: float = MOST_MEMORY) -> bool:
    """Give freed memory back where this process holds more than `most` of the machine's; True if it did.

    Between steps everything temporary goes, and is faulted in again; while a step runs, only what it left unused.
    """
    trim = _of_glibc("malloc_trim")
    if trim is None or held_bytes() <= most * machine_bytes():
        return False
    return bool(trim(0))


def held_bytes() -> int:
    """Resident memory of this process; Linux."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def machine_bytes() -> int:
    """Memory that processes here may use: the machine's, or less in a container (control groups 1 and 2); Linux."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(limit).read_text(encoding="utf-8").strip() if Path(limit).exists() else "max"
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
