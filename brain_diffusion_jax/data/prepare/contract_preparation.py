"""New scans made into the pictures that a trained model knows: its contract read as a preparation."""

from __future__ import annotations

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.errors import InputError


def preparation_of(contract: Contract, where: object = "contract") -> Preparation:
    """The preparation whose pictures follow `contract`; raises InputError for contracts without volumes."""
    if contract.kind != "slices":
        raise InputError(where, "kind", contract.kind, "slices: a model of pictures without geometry reads no volumes")
    try:
        return _preparation(contract, where)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(where, "preparation", f"{type(error).__name__}: {error}", "what `prepare` writes") from error


def _preparation(contract: Contract, where: object) -> Preparation:
    rule = dict(contract.slices["rule"])
    axis = rule.pop("axis", contract.slices["axis"])
    fit = {k: v for k, v in contract.fit.items() if k != "native_size"}
    name = contract.grid["name"]
    preparation = Preparation(
        spacing_mm=contract.spacing_mm,
        grid=name if name in ("mni", "native") else tuple(contract.grid["shape"]),
        intensity={k: v for k, v in contract.intensity.items() if k != "inverse"},
        axis=axis,
        slices=rule,
        fit={k: tuple(v) if isinstance(v, list) else v for k, v in fit.items()},
    )
    grid = preparation.fixed_grid()
    if grid is not None and not np.allclose(grid.affine, contract.grid["affine"], atol=1e-3):
        raise InputError(where, "grid.affine", contract.grid["affine"], f"{grid.affine.tolist()} for {name!r}")
    return preparation
