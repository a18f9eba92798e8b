"""Devices of a TPU pod that is not there: libtpu (extra `tpu`) describes them and compiles for them on any machine.

Nothing can run on such devices; programs are compiled for them by the compiler that the pod itself would use.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from brain_diffusion_jax.errors import InputError, nearest, one_line

# Slices that Google Cloud sells; libtpu knows others, too.
_PLANES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_BOXES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16")
KNOWN = tuple(f"{kind}:{shape}" for kind in ("v5e", "v6e") for shape in _PLANES) + tuple(
    f"{kind}:{shape}" for kind in ("v4", "v5p", "tpu7x") for shape in _BOXES
)
# libtpu looks for the machine's own TPU first; these keep it from asking, from complaining where there is none, and
# from refusing a second process, which here takes no chip from the first.
_NO_TPU_HERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)B?"


def pod_devices(topology: str) -> list[Any]:
    """The devices of a pod such as "v5e:16x16", to compile for; JAX shows v4 and v5p as one device a chip.

    Raises InputError where libtpu is not installed, or does not know the topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        expected = 'the extra `tpu`: pip install "brain-diffusion-jax[tpu]"'
        raise InputError("command line", "--topology", "no libtpu on this machine", expected)
    for name, value in _NO_TPU_HERE.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    kind, _, shape = topology.partition(":")
    more: dict[str, Any] = {"chip_config_name": "megacore"} if kind == "v4" else {}
    if shape and math.prod(int(n) for n in re.findall(r"\d+", shape)) == 1:
        more["chips_per_host_bounds"] = (1, 1, 1)
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology, **more).devices)
    except Exception as error:  # libtpu raises several kinds
        _, invalid, told = one_line(error).rpartition("INVALID_ARGUMENT: ")
        if not invalid:
            raise InputError("libtpu", "start", one_line(error), "a libtpu that starts on this machine") from error
        expected = f"a TPU pod such as v5e:16x16, {nearest(topology, KNOWN)} (libtpu: {told})"
        raise InputError("command line", "--topology", topology, expected) from error


def chip_count(devices: list[Any]) -> int:
    """Chips under so many devices: v2, v3 and tpu7x show two devices a chip; elsewhere a device is a chip."""
    places = {(getattr(d, "slice_index", 0), *d.coords) for d in devices if getattr(d, "coords", None) is not None}
    return len(places) or len(devices)


def memory_limit(device: Any) -> int | None:
    """Bytes that programs may use of a device, as its runtime or its compiler says; None where neither does."""
    if device.platform != "tpu" or not _only_described(device):
        limit = (device.memory_stats() or {}).get("bytes_limit")
        return int(limit) if limit else None
    # The compiler tells its limit to a program that is beyond any.
    sharding = NamedSharding(Mesh(np.asarray([device]), "x"), PartitionSpec())
    huge = jax.ShapeDtypeStruct((2**42,), jnp.float32, sharding=sharding)
    try:
        jax.jit(jnp.negative).lower(huge).compile()
    except jax.errors.JaxRuntimeError as error:
        return out_of_memory(str(error))[1]
    return None


def _only_described(device: Any) -> bool:
    """Whether a device stands for hardware that this machine does not have."""
    try:
        device.memory_stats()
    except (jax.errors.JaxRuntimeError, NotImplementedError):
        return True
    return False


def out_of_memory(message: str) -> tuple[int | None, int | None]:
    """(bytes needed, bytes there are), as an error of XLA's compiler for TPU says them; None for what it does not say.

    >>> out_of_memory("Ran out of memory in memory space hbm. Used 30.50G of 15.75G hbm.")
    (32749125632, 16911433728)
    """
    for pattern in (rf"Used {_SIZE} of {_SIZE} hbm", rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)"):
        if found := re.search(pattern, message):
            needed, unit, limit, limit_unit = found.groups()
            return int(float(needed) * _UNITS[unit]), int(float(limit) * _UNITS[limit_unit])
    return None, None
