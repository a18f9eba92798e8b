"""The cost of a run from shapes alone: parameters, memory of a device, operations. Nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax.training.devices import flops
from brain_diffusion_jax.training.devices.mesh import partition
from brain_diffusion_jax.training.state import TrainState, count_parameters, tree_bytes
from brain_diffusion_jax.training.step import LossFn


@dataclass(frozen=True)
class Estimate:
    """Cost of a train step. Bytes are those of one device.

    mesh: "data x fsdp". state_bytes: weights, averages and optimizer. activation_bytes: what the backward pass keeps
    of the forward pass. step_flops: matrix products and convolutions of one step, all devices together.
    """

    mesh: str
    parameters: int
    state_bytes: int
    gradient_bytes: int
    activation_bytes: int
    step_flops: float

    @property
    def total_bytes(self) -> int:
        """State, gradients and activations of one device."""
        return self.state_bytes + self.gradient_bytes + self.activation_bytes

    def to_json(self) -> dict[str, Any]:
        """The fields and total_bytes, as plain JSON values."""
        return {**asdict(self), "total_bytes": self.total_bytes}

    def __str__(self) -> str:
        gib = {
            k: getattr(self, k) / 2**30 for k in ("state_bytes", "gradient_bytes", "activation_bytes", "total_bytes")
        }
        return "\n".join(
            [
                f"mesh (data x fsdp)       {self.mesh}",
                f"parameters               {self.parameters:,}",
                f"state a device           {gib['state_bytes']:.3f} GiB (weights, averages, optimizer)",
                f"gradients a device       {gib['gradient_bytes']:.3f} GiB",
                f"activations a device     {gib['activation_bytes']:.3f} GiB (kept for the backward pass)",
                f"together                 {gib['total_bytes']:.3f} GiB",
                f"operations a step        {self.step_flops / 1e12:.4f} TFLOP",
            ]
        )


def sharded_bytes(tree: Any, fsdp: int) -> int:
    """Bytes of a tree on one device when its arrays are split by `mesh.partition`."""

    def one(leaf: Any) -> int:
        split = fsdp if partition(tuple(leaf.shape), fsdp) else 1
        return int(np.prod(leaf.shape)) * int(np.dtype(leaf.dtype).itemsize) // split

    return sum(one(leaf) for leaf in jax.tree.leaves(tree))


def estimate(
    init: Callable[[Any], TrainState],
    loss: LossFn,
    example: dict[str, Any],
    *,
    data: int,
    fsdp: int,
    accumulation: int,
    stages: Sequence[LossFn] = (),
) -> Estimate:
    """Cost of a step on `data` x `fsdp` devices. example: shapes of a global batch, "index" among them.

    stages: the losses that `loss` is one after the other, if it is several and differentiates them itself; the memory
    is that of the stage which keeps most.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    update = jax.ShapeDtypeStruct((), "int32")
    state = jax.eval_shape(init, key)
    devices = data * fsdp
    parts = devices * accumulation

    def shrink(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((max(leaf.shape[0] // parts, 1), *leaf.shape[1:]), leaf.dtype)

    local = {name: shrink(leaf) for name, leaf in example.items()}

    def pullback(stage: LossFn, params: Any, *rest: Any) -> Any:
        return jax.vjp(lambda p: stage(p, *rest)[0], params)[1]

    # The pullback is a pytree of everything the backward pass needs, the weights among it.
    arguments = state.params, state.model_state, local, key, update
    kept = max(tree_bytes(jax.eval_shape(partial(pullback, stage), *arguments)) for stage in stages or (loss,))
    gradient = jax.make_jaxpr(jax.grad(lambda *a: loss(*a)[0]))(*arguments)
    return Estimate(
        mesh=f"{data} x {fsdp}",
        parameters=count_parameters(state.params),
        state_bytes=sharded_bytes(state, fsdp),
        gradient_bytes=sharded_bytes(state.params, fsdp) * (2 if accumulation > 1 else 1),
        activation_bytes=max(kept - tree_bytes(state.params), 0),
        step_flops=flops.count(gradient) * parts,
    )
