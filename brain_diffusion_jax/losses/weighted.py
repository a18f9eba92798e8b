"""A recipe of loss terms: each has a name, a weight and the update from which it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


@dataclass(frozen=True)
class Weighted:
    """term(*arguments) -> number or array, times weight; 0 before update number `after_step`."""

    name: str
    term: Callable[..., Array]
    weight: float = 1.0
    after_step: int = 0


def combine(recipe: Sequence[Weighted], update: Array, *arguments: Any) -> tuple[Array, dict[str, jax.Array]]:
    """(sum of the weighted terms, each term by its name without its weight)."""
    terms = {one.name: one.term(*arguments) for one in recipe}
    total = jnp.zeros(())
    for one in recipe:
        weight = one.weight if not one.after_step else jnp.where(update >= one.after_step, one.weight, 0.0)
        total = total + weight * terms[one.name]
    return total, terms
