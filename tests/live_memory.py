"""The most memory that a program's arrays take at once, from its jaxpr: nothing is computed or compiled."""

from __future__ import annotations

import math
from typing import Any

import jax
from jax.extend.core import Literal

# What XLA fuses into whatever reads it. Such a value is an array only where a convolution, a copy or the like reads it.
FUSED = frozenset(
    {
        "abs",
        "add",
        "and",
        "broadcast_in_dim",
        "clamp",
        "convert_element_type",
        "div",
        "eq",
        "exp",
        "ge",
        "gt",
        "integer_pow",
        "le",
        "log",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
        "or",
        "pow",
        "reshape",
        "rsqrt",
        "select_n",
        "sign",
        "sqrt",
        "square",
        "squeeze",
        "stop_gradient",
        "sub",
        "tanh",
    }
)
Step = tuple[str, list[int], list[int]]  # primitive, inputs, outputs
REDUCE = frozenset({"reduce_sum", "reduce_max", "reduce_min"})


def _bytes(aval: Any) -> int:
    return 0 if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended) else math.prod(aval.shape) * aval.dtype.itemsize


def _flat(
    jaxpr: Any, known: dict[Any, int], eqns: list[tuple[str, list[int], list[int]]], sizes: list[int]
) -> list[int]:
    """Append (primitive, inputs, outputs) of a jaxpr and of those inside it; values are numbers. Returns its results.

    Of platform_dependent the last branch, which is not the CPU's.
    """

    def number(var: Any) -> int:
        if isinstance(var, Literal):
            sizes.append(0)
            return len(sizes) - 1
        return known[var]

    for eqn in jaxpr.eqns:
        told = [number(v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        if "branches" in eqn.params:
            inner, told = eqn.params["branches"][-1], told[1:]
        if inner is not None:
            inner = getattr(inner, "jaxpr", inner)
            for var in inner.constvars:
                sizes.append(0)
                known[var] = len(sizes) - 1
            own = {**known, **dict(zip(inner.invars, told, strict=True))}
            known |= dict(zip(eqn.outvars, _flat(inner, own, eqns, sizes), strict=True))
            continue
        first = len(sizes)
        sizes += [_bytes(v.aval) for v in eqn.outvars]
        made = list(range(first, len(sizes)))
        known |= dict(zip(eqn.outvars, made, strict=True))
        eqns.append((eqn.primitive.name, told, made))
    return [number(v) for v in jaxpr.outvars]


def peak_bytes(function: Any, *arguments: Any) -> int:
    """Bytes that are live at once while `function` runs, arguments apart; arrays live until they are last read."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    given = [*jaxpr.constvars, *jaxpr.invars]
    sizes, eqns = [0] * len(given), []
    results = _flat(jaxpr, dict(zip(given, range(len(given)), strict=True)), eqns, sizes)
    buffers = {i: {i} for i in range(len(sizes))}  # the arrays that a value is made of
    born, read = {}, {}
    for time, (name, told, made) in enumerate(eqns):
        if name in FUSED:
            for value in made:
                buffers[value] = set().union(*(buffers.get(v, set()) for v in told))
            continue
        for value in told:
            for array in buffers.get(value, set()):
                read[array] = time
            if name not in REDUCE and buffers.get(value, {value}) != {value}:
                buffers[value], born[value], read[value] = {value}, time, time
        for value in made:
            buffers[value], born[value] = {value}, time
    for value in results:
        for array in buffers.get(value, set()):
            read[array] = len(eqns)
    return max(
        sum(sizes[a] for a, start in born.items() if start <= time <= read.get(a, start)) for time in range(len(eqns))
    )
