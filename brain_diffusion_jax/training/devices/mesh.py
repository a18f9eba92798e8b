"""How a pure train step is spread over devices: jit over Mesh("data", "fsdp"), or pmap.

A layout knows where state and batches live; the step does not. Parameters, averages and
optimizer state are split over "fsdp" by shape, batches over both axes together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.devices import flops
from brain_diffusion_jax.training.devices.program import StepProgram
from brain_diffusion_jax.training.state import TrainState
from brain_diffusion_jax.training.step import Batch, Metrics, StepFn

# Smaller arrays (biases, norms) stay whole on every device: splitting them costs more than it saves.
SHARD_FROM_ELEMENTS = 1024
PMAP_AXIS = "batch"
Init = Callable[[Key], TrainState]
MakeStep = Callable[[str | None], StepFn]
Arrays = dict[str, np.ndarray]


class Layout(Protocol):
    """Where state and batches live. devices: of all processes together."""

    devices: int

    def create(self, init: Init, key: Key) -> TrainState:
        """init(key), placed on the devices."""
        ...

    def abstract(self, init: Init, key: Key) -> TrainState:
        """Shapes and shardings of the state in the form of `stored`, to restore a checkpoint into."""
        ...

    def summed(self, gradient: Params) -> Params:
        """Within the step: a gradient that is summed on each device before it is reduced over devices, once."""
        return gradient

    def local_params(self, params: Params) -> Params:
        """Parameters that this process can use alone, such as for a preview."""
        ...

    def place(self, batch: Arrays) -> Batch:
        """A training batch on the devices, from this process's part [local batch, ...] of it."""
        ...

    def place_global(self, batch: Arrays) -> Batch:
        """A batch on the devices, from the whole of it in every process; for the fixed validation batches."""
        ...

    def compile(self, make_step: MakeStep) -> AnyProgram:
        """The train step over all devices. make_step: receives the axis name of pmap, None under jit."""
        ...

    def evaluate(self, fn: Callable[..., Metrics]) -> Callable[..., Metrics]:
        """fn(params, model_state, batch) -> metrics, compiled; batch as of `place_global`."""
        ...

    def stored(self, state: TrainState) -> TrainState:
        """The state in the form that checkpoints hold, the same for every layout."""
        ...

    def load(self, stored: TrainState) -> TrainState:
        """The inverse of `stored`."""
        ...


def make_mesh(data: int = -1, fsdp: int = 1, devices: list[Any] | None = None) -> Mesh:
    """Mesh("data", "fsdp") over all devices of all processes; data=-1 takes what fsdp leaves."""
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise InputError("config", "train.fsdp", fsdp, f"a divisor of the {len(devices)} devices")
    if data == -1:
        data = len(devices) // fsdp
    if data * fsdp != len(devices):
        raise InputError(
            "config", "train.data_parallel x train.fsdp", f"{data} x {fsdp}", f"{len(devices)} devices in all"
        )
    return Mesh(np.asarray(devices).reshape(data, fsdp), ("data", "fsdp"))


def partition(shape: tuple[int, ...], fsdp: int) -> PartitionSpec:
    """Split the largest dimension that fsdp divides, the last of equals; small arrays stay whole."""
    if fsdp > 1 and int(np.prod(shape)) >= SHARD_FROM_ELEMENTS:
        sizes = [(size, axis) for axis, size in enumerate(shape) if size % fsdp == 0]
        if sizes:
            axis = max(sizes)[1]
            return PartitionSpec(*([None] * axis), "fsdp")
    return PartitionSpec()


def state_shardings(mesh: Mesh, abstract: Any) -> Any:
    """A NamedSharding for every leaf of a state's shapes."""
    fsdp = mesh.shape["fsdp"]
    return jax.tree.map(lambda leaf: NamedSharding(mesh, partition(tuple(leaf.shape), fsdp)), abstract)


def require_divisible(
    batch_size: int, devices: int, accumulation: int, processes: int, field: str = "data.batch_size"
) -> None:
    """Raise InputError, about a field, unless a batch splits evenly over devices and accumulation parts."""
    parts = devices * accumulation
    if batch_size % parts or batch_size % processes:
        expected = f"a multiple of {parts} ({devices} devices x accumulation {accumulation})"
        raise InputError("config", field, batch_size, expected)


class JitLayout(Layout):
    """jax.jit over a mesh; state is donated, metrics are replicated."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.devices = mesh.size
        self.batch_sharding = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.shardings: Any = None

    def abstract(self, init: Init, key: Key) -> TrainState:
        shapes = jax.eval_shape(init, key)
        self.shardings = state_shardings(self.mesh, shapes)
        like: TrainState = jax.tree.map(_with_sharding, shapes, self.shardings)
        return like

    def create(self, init: Init, key: Key) -> TrainState:
        self.abstract(init, key)
        state: TrainState = jax.jit(init, out_shardings=self.shardings)(key)
        return state

    def place(self, batch: Arrays) -> Batch:
        return {
            name: jax.make_array_from_process_local_data(self.batch_sharding, np.asarray(array))
            for name, array in batch.items()
        }

    def place_global(self, batch: Arrays) -> Batch:
        def put(array: np.ndarray) -> jax.Array:
            return jax.make_array_from_callback(array.shape, self.batch_sharding, lambda part: array[part])

        return {name: put(array) for name, array in batch.items()}

    def summed(self, gradient: Params) -> Params:
        if self.mesh.shape["fsdp"] == 1:
            return gradient
        # Left to itself XLA scatters what each use of a weight gives, and each part of a batch. Whole first, it sums
        # them; nothing but the parts is read, so that the sum is scattered and never whole anywhere.
        whole = jax.lax.with_sharding_constraint(gradient, self.replicated)
        parts: Params = jax.lax.with_sharding_constraint(whole, self.shardings.params)
        return parts

    def compile(self, make_step: MakeStep) -> StepProgram:
        step = make_step(None)

        def gathered(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
            # Weights are gathered once a step, not once in each direction.
            whole = jax.lax.with_sharding_constraint(state.params, self.replicated)
            return step(state.replace(params=whole), batch, key)

        jitted = jax.jit(
            gathered if self.mesh.shape["fsdp"] > 1 else step,
            in_shardings=(self.shardings, self.batch_sharding, self.replicated),
            out_shardings=(self.shardings, self.replicated),
            donate_argnums=0,
        )
        return StepProgram(jitted)

    def evaluate(self, fn: Callable[..., Metrics]) -> Callable[..., Metrics]:
        return StepProgram(jax.jit(fn, out_shardings=self.replicated))

    def local_params(self, params: Params) -> Params:
        if jax.process_count() == 1:
            return params
        return jax.tree.map(np.asarray, jax.jit(lambda p: p, out_shardings=self.replicated)(params))

    def stored(self, state: TrainState) -> TrainState:
        return state

    def load(self, stored: TrainState) -> TrainState:
        return stored


class PmapLayout(Layout):
    """jax.pmap: the whole state on every device, with a leading device axis."""

    def __init__(self) -> None:
        self.devices = jax.device_count()
        self.local = jax.local_device_count()
        # In checkpoints a pmap state is an ordinary replicated one, so that any layout restores it.
        self.mesh = make_mesh()
        self.replicated = NamedSharding(self.mesh, PartitionSpec())

    def abstract(self, init: Init, key: Key) -> TrainState:
        shapes = jax.eval_shape(init, key)
        like: TrainState = jax.tree.map(lambda shape: _with_sharding(shape, self.replicated), shapes)
        return like

    def create(self, init: Init, key: Key) -> TrainState:
        return self.load(jax.jit(init, out_shardings=self.replicated)(key))

    def local_params(self, params: Params) -> Params:
        return jax.tree.map(_first, params)

    def place(self, batch: Arrays) -> Batch:
        """On the host: the step puts each device's part on it."""
        return {k: np.asarray(v).reshape(self.local, -1, *np.shape(v)[1:]) for k, v in batch.items()}  # type: ignore[misc]

    def place_global(self, batch: Arrays) -> Batch:
        return {**batch}  # type: ignore[dict-item]

    def compile(self, make_step: MakeStep) -> PmapProgram:
        step = jax.pmap(make_step(PMAP_AXIS), axis_name=PMAP_AXIS, in_axes=(0, 0, None), donate_argnums=0)
        return PmapProgram(step, self.devices)

    def evaluate(self, fn: Callable[..., Metrics]) -> Callable[..., Metrics]:
        """fn(params, model_state, batch), the whole batch on the first local device of every process."""
        compiled = jax.jit(fn)

        def run(params: Params, model_state: Any, batch: Batch) -> Metrics:
            metrics: Metrics = compiled(*jax.tree.map(_first, (params, model_state)), batch)
            return metrics

        return run

    def stored(self, state: TrainState) -> TrainState:
        view: TrainState = jax.tree.map(self._replicated_view, state)
        return view

    def _replicated_view(self, leaf: jax.Array) -> jax.Array:
        shards = [s.data.reshape(leaf.shape[1:]) for s in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape[1:], self.replicated, shards)

    def load(self, stored: TrainState) -> TrainState:
        def stack(leaf: jax.Array) -> np.ndarray:
            return np.stack([np.asarray(leaf.addressable_data(0))] * self.local)

        stacked: TrainState = jax.tree.map(stack, stored)  # the first step puts it on the devices
        return stacked


class PmapProgram:
    """A pmapped step whose metrics are those of the first local device (all are equal)."""

    def __init__(self, step: Any, devices: int) -> None:
        self._step, self._devices = step, devices
        self.flops = 0.0

    def ready(self, state: TrainState, batch: Batch, key: Key) -> None:
        """Compile, unless compiled already."""
        if not self.flops:
            self.flops = flops.count(jax.make_jaxpr(self._step)(state, batch, key)) * self._devices
            self._step = self._step.lower(state, batch, key).compile()

    def __call__(self, state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        self.ready(state, batch, key)
        state, metrics = self._step(state, batch, key)
        return state, jax.tree.map(_first, metrics)


def _with_sharding(shape: Any, sharding: NamedSharding) -> Any:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)


def _first(leaf: jax.Array) -> jax.Array:
    first: jax.Array = leaf.addressable_shards[0].data
    return first.reshape(leaf.shape[1:])


AnyProgram = StepProgram | PmapProgram


def make_layout(parallelism: str, data: int = -1, fsdp: int = 1) -> Layout:
    """The layout of a `train` section: parallelism jit | pmap."""
    if parallelism == "jit":
        return JitLayout(make_mesh(data, fsdp))
    if parallelism == "pmap":
        if fsdp != 1:
            raise InputError("config", "train.fsdp", fsdp, "1 with train.parallelism=pmap")
        return PmapLayout()
    raise InputError("config", "train.parallelism", parallelism, "jit or pmap")
