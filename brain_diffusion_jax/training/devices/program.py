"""A compiled step, its operations and its memory."""

from __future__ import annotations

import sys
from typing import Any

import jax

from brain_diffusion_jax.training.devices import distributed, flops

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class StepProgram:
    """Compiles a jitted function at its first call (once) and keeps the compiler's figures.

    flops: of matrix products and convolutions in one step, over all devices; 0 until compiled.
    """

    def __init__(self, jitted: Any) -> None:
        self._jitted = jitted
        self._compiled: Any = None
        self.flops = 0.0

    def __call__(self, *arguments: Any) -> Any:
        self.ready(*arguments)
        return self._compiled(*arguments)

    def ready(self, *arguments: Any) -> None:
        """Compile, unless compiled already."""
        if self._compiled is None:
            self.compile(*arguments)

    def compile(self, *arguments: Any) -> Any:
        """The compiled program for arguments (arrays or ShapeDtypeStructs with shardings)."""
        traced = self._jitted.trace(*arguments)
        self.flops = flops.count(traced.jaxpr)
        self._compiled = traced.lower().compile()
        distributed.barrier("compiled")
        return self._compiled


def memory_gib() -> float | None:
    """Peak memory in GiB: of the fullest local device, or of this process where devices do not tell (CPU).

    None on a CPU of Windows, which does not tell.
    """
    peak = max(int((d.memory_stats() or {}).get("peak_bytes_in_use", 0)) for d in jax.local_devices())
    if peak:
        return peak / 2**30
    if resource is None:
        return None
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30
