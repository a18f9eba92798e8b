"""What every opened run folder has."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Categorical, Covariate
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation import rich
from brain_diffusion_jax.tasks.run_config import RunConfig

Conditions = Sequence[Mapping[str, object]]


def refuse_conditions(path: Path, conditional: bool, conditions: Conditions) -> None:
    """An unconditional model takes no conditions: its images would be taken for answers."""
    named = sorted({name for condition in conditions for name, value in condition.items() if value is not None})
    if named and not conditional:
        raise InputError(path, "conditions", ", ".join(named), "none: this model was trained without conditions")


def require_finite(path: Path, finite: Any, conditions: Conditions, settings: str) -> None:
    """Raise InputError where an image is not. finite: bool [n], one a condition; settings: what made them."""
    broken = np.flatnonzero(~np.asarray(finite))
    if len(broken):
        first = f"the first for {dict(conditions[broken[0]])}; settings: {settings}"
        found = f"NaN or infinity in {len(broken)} of {len(conditions)} ({first})"
        raise InputError(path, "sampled images", found, "finite ones: try other settings, conditions or weights")


def describe(covariate: Covariate) -> str:
    """What a covariate may be, in words: "20 to 90 years" or "F, M"."""
    if isinstance(covariate, Categorical):
        return ", ".join(covariate.values)
    return f"{covariate.low:g} to {covariate.high:g} {covariate.unit}".rstrip()


def hash_of(params: Params) -> str:
    """12 hex digits over names and values of all arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:12]


class Model:
    """path, config, contract (None: foreign weights without one), params of a run folder, and the step they are of.

    whole_variables: params are {"params": parameters, [other collections of a checkpoint]}.
    """

    kind = ""
    needs_contract = False
    whole_variables = False

    def __init__(
        self, path: Path, config: RunConfig, contract: Contract | None, params: Params, step: int | None = None
    ) -> None:
        if self.needs_contract and contract is None:
            raise InputError(path, "contract.json", "none", f"the contract of a run of kind {self.kind!r}")
        self.path, self.config, self.contract, self.params, self.step = path, config, contract, params, step

    @functools.cached_property
    def version(self) -> str:
        """A short hash of all weights: names what measured, or what was measured."""
        return hash_of(self.params)

    @functools.cached_property
    def _millions(self) -> str:
        count = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(self.params))
        return f"{count / 1e6:.2f} M parameters"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {self._millions})"

    def _repr_html_(self) -> str:
        rows: list[list[Any]] = [
            ["kind", self.kind],
            ["run", self.path],
            ["step", self.step],
            ["network", self._millions],
        ]
        if self.contract is not None:
            size = " x ".join(map(str, self.contract.image_size))
            rows += [["images", f"{self.contract.kind} of {size}, {self.contract.channels} channel(s)"]]
            rows += [[f"covariate {c.name}", describe(c)] for c in self.contract.schema.covariates]
        return rich.table_html((), rows, type(self).__name__)

    def show(self) -> None:
        """Display what this model is in a notebook; elsewhere print it."""
        rich.show(self)
