"""What every opened run folder has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from brain_diffusion_jax.array_types import Params
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.errors import InputError

Conditions = Sequence[Mapping[str, object]]


def refuse_conditions(path: Path, conditional: bool, conditions: Conditions) -> None:
    """An unconditional model must not be asked for anything: its pictures would be taken for answers."""
    asked = sorted({name for condition in conditions for name, value in condition.items() if value is not None})
    if asked and not conditional:
        raise InputError(path, "conditions", ", ".join(asked), "none: this model was trained without conditions")


class Model:
    """path, config, contract (None: foreign weights without one) and params of a run folder."""

    kind = ""
    needs_contract = False

    def __init__(self, path: Path, config: ConfigDict, contract: Contract | None, params: Params) -> None:
        if self.needs_contract and contract is None:
            raise InputError(path, "contract.json", "none", f"the contract of a run of kind {self.kind!r}")
        self.path, self.config, self.contract, self.params = path, config, contract, params

    def __repr__(self) -> str:
        count = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(self.params))
        return f"{type(self).__name__}({str(self.path)!r}, {count / 1e6:.2f} M parameters)"
