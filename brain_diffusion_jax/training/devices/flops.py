"""Floating-point operations of a program, counted from its jaxpr, and what devices reach at most."""

from __future__ import annotations

import math
from typing import Any

# Dense bf16 (fp16 where there is no bf16) peaks in TFLOP/s, without sparsity, of the makers' data sheets.
PEAK_TFLOPS = {
    "H200": 989.0,
    "H100": 989.0,
    "B200": 2250.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "V100": 125.0,
    "T4": 65.0,
    "TPU v3": 123.0,
    "TPU v4": 275.0,
    "TPU v5 lite": 197.0,
    "TPU v5p": 459.0,
    "TPU v5": 459.0,
    "TPU v6": 918.0,
}


def peak_flops(device_kind: str) -> float:
    """Peak FLOP/s of one device of a kind as JAX names it; 0 where unknown (all CPUs)."""
    for name, tera in PEAK_TFLOPS.items():
        if name.lower() in device_kind.lower():
            return tera * 1e12
    return 0.0


def _dot(eqn: Any) -> float:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.invars[0].aval.shape
    return float(2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[i] for i in contracted))


def _conv(eqn: Any) -> float:
    dims = eqn.params["dimension_numbers"]
    kernel = eqn.invars[1].aval.shape
    # An output element sums over every kernel position and input channel of its group; holes in a dilated
    # input (the gradient of a strided convolution) cost nothing.
    per_output = math.prod(kernel[i] for i in dims.rhs_spec[1:])
    return float(2 * math.prod(eqn.outvars[0].aval.shape) * per_output / math.prod(eqn.params["lhs_dilation"]))


def count(jaxpr: Any) -> float:
    """FLOPs of the matrix products and convolutions of a (closed) jaxpr; loops with known length count fully.

    What nothing reads does not count: a compiler leaves it out (the forward pass beside a gradient of jax.vjp).
    Recomputation of rematerialised blocks counts too: with model.remat this is more than the model's own.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    total = 0.0
    read = {id(var) for var in jaxpr.outvars}
    for eqn in reversed(jaxpr.eqns):
        if read.isdisjoint(id(var) for var in eqn.outvars):
            continue
        read.update(id(var) for var in eqn.invars)
        name = eqn.primitive.name
        if name == "dot_general":
            total += _dot(eqn)
        elif name == "conv_general_dilated":
            total += _conv(eqn)
        else:
            times = eqn.params.get("length", 1) if name == "scan" else 1
            inner = [v for v in eqn.params.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
            branches = eqn.params.get("branches", ())
            total += times * sum(count(sub) for sub in inner)
            total += max((count(sub) for sub in branches), default=0.0)
    return float(total)
