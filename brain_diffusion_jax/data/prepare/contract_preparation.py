"""New scans made into the slices or volumes that a trained model knows: its contract read as a preparation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.prepare.nifti import Grid
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.data.prepare.slicing import Fit
from brain_diffusion_jax.errors import InputError, refusing


def preparation_of(contract: Contract, where: object = "contract", kind: str = "slices") -> Preparation:
    """The preparation whose slices or volumes (`kind`) follow `contract`; raises InputError for other contracts."""
    if contract.kind != kind:
        hint = ": a model of pictures without geometry reads no volumes" if contract.kind == "pictures" else ""
        raise InputError(where, "kind", contract.kind, f"{kind}{hint}")
    with refusing(where, "preparation", "what `prepare` writes"):
        preparation = _of_slices(contract, where) if kind == "slices" else _of_volumes(contract, where)
    return preparation


def _of_slices(contract: Contract, where: object) -> Preparation:
    section = contract.grid
    if not isinstance(contract.slices.rule, Mapping) or not section.name:
        raise InputError(where, "preparation", "no slices.rule or grid.name", "what `prepare` writes")
    rule = dict(contract.slices.rule)
    axis = rule.pop("axis", contract.slices.axis)
    preparation = Preparation(
        spacing_mm=contract.spacing_mm,
        grid=section.name if section.name in ("mni", "native") else tuple(section.shape or ()),
        intensity=_intensity(contract),
        axis=axis,
        slices=rule,
        fit={k: v for k, v in vars(Fit.of(contract.fit)).items() if v is not None} | dict(contract.fit.more),
    )
    _require_affine(preparation.fixed_grid(), contract, where)
    return preparation


def _of_volumes(contract: Contract, where: object) -> Preparation:
    section, fit = contract.grid, contract.fit
    if fit.rule != "box" or not fit.size or not section.name:
        raise InputError(where, "preparation", "no fit.size or grid.name", "what `prepare` writes")
    # How many voxels of the grid a stored one covers, along each axis.
    factors = [cut / stored for cut, stored in zip(fit.size, contract.image_size, strict=True)]
    edge = contract.spacing_mm[0] if contract.spacing_mm and max(factors) > 1 else 0.0
    preparation = Preparation(
        kind="volumes",
        spacing_mm=tuple(mm / factor for mm, factor in zip(contract.spacing_mm, factors)),
        grid=section.name if section.name in ("mni", "native") else tuple(fit.native_size or ()),
        intensity=_intensity(contract),
        volume={"size": fit.size, "offset": fit.offset or (), "spacing_mm": edge},
    )
    grid = preparation.fixed_grid()
    _require_affine(None if grid is None else preparation.box.stored(grid, where), contract, where)
    return preparation


def _intensity(contract: Contract) -> dict[str, Any]:
    return {k: v for k, v in contract.intensity.to_json().items() if k != "inverse"}


def _require_affine(grid: Grid | None, contract: Contract, where: object) -> None:
    """Raise InputError where a grid that is made of a contract's words lies elsewhere than its affine says."""
    known = contract.grid.affine
    if grid is not None and (known is None or not np.allclose(grid.affine, known, atol=1e-3)):
        raise InputError(where, "grid.affine", known, f"{grid.affine.tolist()} for {contract.grid.name!r}")
