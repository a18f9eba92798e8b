"""What the regressor of years learns from, with the recipe of REFERENCE R1 and better ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Key, Params
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.labels import Label, find, trained_output
from brain_diffusion_jax.training.augmentation import Augmentation
from brain_diffusion_jax.training.step import Batch, LossFn, Metrics, sample_weights
from brain_diffusion_jax.training.task import MeasureFn

LOSSES = ("mse", "l1", "huber", "distribution")
_HUBER_YEARS = 5.0


@dataclass(frozen=True)
class Target(Label):
    """Where a batch keeps the age, encoded over [low, high] years."""

    low: float
    high: float

    def years(self, values: Float[Array, "b n"]) -> Float[Array, " b"]:
        """Years of encoded values."""
        return values[:, self.column] * (self.high - self.low) + self.low


def find_target(schema: Schema, name: str = "age") -> Target:
    """The target covariate of a schema; raises InputError unless it is continuous."""
    column, covariate = find(schema, name, Continuous, "age_model.target")
    return Target(column, covariate.low, covariate.high)


@dataclass(frozen=True)
class AgeLoss:
    """loss: mse (R1), l1, huber (5 years), or distribution: cross entropy with a Gaussian of `label_sigma`
    years over the network's bins plus the error of its mean (Gao et al. 2017, label distribution).

    balance: exponent of 1/density of ages as weight: 0 as they come, 1 every age alike.
    frozen: prefixes of layer names whose weights do not move.
    """

    loss: str = "mse"
    label_sigma: float = 3.0
    balance: float = 0.5
    frozen: tuple[str, ...] = ()
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError("config", "age_model.loss", self.loss, f"one of {', '.join(LOSSES)}")
        if not 0 <= self.balance <= 1:
            raise InputError("config", "age_model.balance", self.balance, "0 to 1")


def age_weights(ages: np.ndarray, exponent: float, low: float, high: float, width: float = 5.0) -> np.ndarray:
    """Weights of age bins of `width` years from low to high, mean 1 over `ages`; all 1 for exponent 0."""
    count = max(1, int(np.ceil((high - low) / width)))
    index = np.clip((np.asarray(ages) - low) // width, 0, count - 1).astype(int)
    density = np.maximum(np.bincount(index, minlength=count), 1) / max(len(index), 1)
    weights = density**-exponent
    return np.asarray(weights / weights[index].mean(), np.float32)


def sample_loss(network: AgeNetwork, raw: Float[Array, "b k"], years: Float[Array, " b"], how: AgeLoss) -> Array:
    """Loss of each sample [b]; mse, l1 and huber in units of the network's target_scale."""
    error = (network.years(raw) - years) / network.target_scale
    if how.loss == "mse":
        return jnp.asarray(error**2)
    if how.loss == "l1":
        return jnp.abs(error)
    if how.loss == "huber":
        return jnp.asarray(optax.huber_loss(error, delta=_HUBER_YEARS / network.target_scale))
    centres = network.bin_centres()
    wanted = jax.nn.softmax(-((centres - years[:, None]) ** 2) / (2 * how.label_sigma**2))
    cross_entropy = optax.softmax_cross_entropy(raw, wanted)
    return jnp.asarray(cross_entropy + 0.02 * jnp.abs(network.years(raw) - years))


def _hold(params: Params, frozen: tuple[str, ...]) -> Params:
    """`params` with no gradient through the frozen layers."""
    if not frozen:
        return params

    def one(path: Any, leaf: Array) -> Array:
        return jax.lax.stop_gradient(leaf) if any(str(p.key).startswith(frozen) for p in path) else leaf

    return jax.tree_util.tree_map_with_path(one, params)


def make_loss(
    network: AgeNetwork, target: Target, how: AgeLoss, weights: np.ndarray | None = None, bin_years: float = 5.0
) -> LossFn:
    """loss(params, model_state, batch, key, update) for `step.build_step`; weights: of `age_weights`.

    batch: image uint8|float32 [b, rows, cols, 1|3], values f32 [b, n], present bool [b, n], index [b].
    Images whose age is absent have no weight. Metrics: "mae", in years.
    """

    def loss(
        params: Params, model_state: Any, batch: Batch, key: Key, update: Array
    ) -> tuple[Array, tuple[Metrics, Any]]:
        held = _hold(params, how.frozen)
        raw, changed = trained_output(network, held, model_state, batch, key, how.augmentation)
        years = target.years(batch["values"])
        known = weight = sample_weights(batch, target.known(batch))
        if weights is not None:
            bins = jnp.clip((years - target.low) // bin_years, 0, len(weights) - 1).astype(jnp.int32)
            weight = known * jnp.asarray(weights)[bins]
        each = sample_loss(network, raw, years, how)
        mae = jnp.mean(jnp.abs(network.years(raw) - years) * known)
        return jnp.mean(each * weight), ({"mae": mae}, changed)

    return loss


def make_measure(network: AgeNetwork, target: Target) -> MeasureFn:
    """measure(params, model_state, batch, key) -> {"validation_loss": [b]}: absolute error in years."""

    def measure(params: Params, model_state: Any, batch: Batch, key: Key) -> Metrics:
        years: Any = network.apply({"params": params, **model_state}, to_unit(batch["image"]))
        return {"validation_loss": jnp.abs(years - target.years(batch["values"]))}

    return measure
