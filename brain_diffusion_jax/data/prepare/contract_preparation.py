"""New scans made into the images that a trained model knows: its contract read as a preparation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.prepare.slicing import Fit
from brain_diffusion_jax.errors import InputError, refusing


def preparation_of(contract: Contract, where: object = "contract") -> Preparation:
    """The preparation whose images follow `contract`; raises InputError for contracts without volumes."""
    if contract.kind != "slices":
        raise InputError(where, "kind", contract.kind, "slices: a model of pictures without geometry reads no volumes")
    with refusing(where, "preparation", "what `prepare` writes"):
        preparation = _preparation(contract, where)
    return preparation


def _preparation(contract: Contract, where: object) -> Preparation:
    section = contract.grid
    if not isinstance(contract.slices.rule, Mapping) or not section.name:
        raise InputError(where, "preparation", "no slices.rule or grid.name", "what `prepare` writes")
    rule = dict(contract.slices.rule)
    axis = rule.pop("axis", contract.slices.axis)
    preparation = Preparation(
        spacing_mm=contract.spacing_mm,
        grid=section.name if section.name in ("mni", "native") else tuple(section.shape or ()),
        intensity={k: v for k, v in contract.intensity.to_json().items() if k != "inverse"},
        axis=axis,
        slices=rule,
        fit={k: v for k, v in vars(Fit.of(contract.fit)).items() if v is not None} | dict(contract.fit.more),
    )
    grid = preparation.fixed_grid()
    if grid is not None and (section.affine is None or not np.allclose(grid.affine, section.affine, atol=1e-3)):
        raise InputError(where, "grid.affine", section.affine, f"{grid.affine.tolist()} for {section.name!r}")
    return preparation
