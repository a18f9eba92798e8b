"""Everything that a training step changes, as one pytree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from brain_diffusion_jax.array_types import Params

# Parameters under this name are the loss's own and no part of the network.
LOSS_PARAMETERS = "uncertainty"


@flax.struct.dataclass
class TrainState:
    """step: int32 number of steps done (the next batch is number `step`). ema: like params.

    model_state: a network's non-trained collections (batch_stats), {} where it has none.
    power_ema: {sigma_rel as text: like params}, the averages of Karras et al. 2024, {} when off.
    lr_scale: float32 factor on every update, lowered by reduce-on-plateau. loss_mean: float32 running mean
    of the loss over `accepted` (int32) steps, by which a spike is known.
    """

    step: jax.Array
    params: Params
    ema: Params
    opt_state: Any
    model_state: Any
    power_ema: dict[str, Params]
    lr_scale: jax.Array
    loss_mean: jax.Array
    accepted: jax.Array

    if TYPE_CHECKING:  # flax adds it

        def replace(self, **changes: Any) -> TrainState: ...


def create(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, power_ema: tuple[float, ...] = ()
) -> TrainState:
    """A new state from a network's variables {"params": ..., [other collections]}; jit-able."""
    params = variables["params"]

    def copy() -> Params:
        return jax.tree.map(jnp.copy, params)

    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=copy(),
        opt_state=optimizer.init(params),
        model_state={k: v for k, v in variables.items() if k != "params"},
        power_ema={f"{sigma:g}": copy() for sigma in power_ema},
        lr_scale=jnp.ones((), jnp.float32),
        loss_mean=jnp.zeros((), jnp.float32),
        accepted=jnp.zeros((), jnp.int32),
    )


def network_params(params: Params) -> Params:
    """Parameters without those of the loss."""
    return {k: v for k, v in params.items() if k != LOSS_PARAMETERS}


def count_parameters(params: Params) -> int:
    """Number of scalars in a tree of arrays or shapes."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def tree_bytes(tree: Any) -> int:
    """Bytes of a tree of arrays or shapes, as if on one device."""
    return sum(int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))
