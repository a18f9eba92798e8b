"""Ventricular and brain volume as conditions of shards: the region is fitted on the training people, then kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.data.prepare import head_volumes
from brain_diffusion_jax.data.prepare.head_volumes import MeasureSpec, Region
from brain_diffusion_jax.data.sources.source import Entry, Examples
from brain_diffusion_jax.errors import InputError


def with_measured(covariates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A config's covariates and, behind them, those that are measured where it does not declare them."""
    known = {str(item["name"]) for item in covariates}
    return [*covariates, *(item for item in head_volumes.COVARIATES if item["name"] not in known)]


@dataclass(frozen=True)
class HeadMeasuring:
    """What `write_shards` asks, once it knows who is trained on, for the `HeadMeasure` of all scans."""

    spec: MeasureSpec

    def fitted(
        self, train: Sequence[Entry], load: Callable[[Entry], Examples], contract: Contract, where: object
    ) -> HeadMeasure:
        """Fit the region on training scans, read one by one, or take that of spec.region.

        Raises InputError for volumes without a shared grid, a region of another grid, and where no ventricle is found.
        """
        if contract.grid.affine is None:
            found = f"prepare.grid={contract.grid.name}"
            raise InputError("prepare.measure", "volumes", found, "a grid that all scans share")
        for item in head_volumes.COVARIATES:
            declared = contract.schema[str(item["name"])]
            if not isinstance(declared, Continuous) or declared.unit != item["unit"]:
                raise InputError("covariates", declared.name, declared.to_json(), f"a number in {item['unit']}")
        affine = np.array(contract.grid.affine)
        if self.spec.region:
            region = head_volumes.load_region(self.spec.region)
            if region.head.shape != contract.image_size or not np.allclose(region.affine, affine, atol=1e-3):
                found = f"{region.head.shape} from {region.affine[:3, 3].tolist()} mm"
                expected = f"{contract.image_size} from {affine[:3, 3].tolist()} mm, as these volumes"
                raise InputError(self.spec.region, "region", found, expected)
            return HeadMeasure(region, {"fitted": "earlier"})
        step = -(-len(train) // self.spec.most)
        train = list(train)[::step]
        older = [entry for entry in train if self._is_older(entry, contract.schema)]

        def volumes(entries: Sequence[Entry]) -> Iterator[np.ndarray]:
            return (load(entry).images[0, ..., 0] for entry in entries)

        region = head_volumes.fit_region(lambda: volumes(train), lambda: volumes(older), affine, where)
        return HeadMeasure(region, {"fitted": "training people", "scans": len(train), "older": len(older)})

    def _is_older(self, entry: Entry, schema: Schema) -> bool:
        value = entry.conditions.get(schema[self.spec.covariate].name)
        return value is not None and not isinstance(value, str) and value > self.spec.above


@dataclass(frozen=True)
class HeadMeasure:
    """Adds `ventricles` and `brain` to examples of volumes. origin: how the region came about, for the contract."""

    region: Region
    origin: Mapping[str, Any]

    def supply(self, examples: Examples) -> Examples:
        """The examples with what was measured on them; NaN, which is absent, where no fluid is in the region."""
        found = head_volumes.measure(examples.images, self.region)
        found[head_volumes.VENTRICLES][found[head_volumes.VENTRICLES] == 0] = np.nan
        return examples._replace(supplied={**examples.supplied, **found})

    def described(self, contract: Contract) -> Contract:
        """The contract with what is measured and the hash of the region, so that no other region is taken for it."""
        facts = {
            "covariates": list(head_volumes.NAMES),
            "region": self.region.digest,
            "estimator": "count",
            **self.origin,
        }
        return replace(contract, measured={**contract.measured, **facts})

    def save(self, folder: Path) -> None:
        """Keep the region beside the shards."""
        self.region.save(folder)
