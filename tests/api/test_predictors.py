"""Which regressors may read a study's images."""

from __future__ import annotations

import dataclasses

import pytest
import tiny_runs

from brain_diffusion_jax.api.predictors import Predictors, load_regressor
from brain_diffusion_jax.contract import Contract, ContractMismatch, Intensity
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes.features import Extractor


def test_a_regressor_must_know_the_slices_and_read_the_same_pixels(tmp_path):
    run = str(tiny_runs.age_run(tmp_path / "age"))
    contract = load_regressor(run, None).contract

    def with_slices(*indices: int):
        return dataclasses.replace(contract, slices=dataclasses.replace(contract.slices, indices=indices))

    assert load_regressor(run, with_slices(3)).kind == "age"
    with pytest.raises(InputError, match=r"knows \[7\]"):
        load_regressor(run, with_slices(3, 7))
    with pytest.raises(ContractMismatch, match="intensity"):
        load_regressor(run, dataclasses.replace(contract, intensity=Intensity("percentile")))


def test_extractors_of_volumes_are_refused_for_slices_and_the_reverse():
    schema = Schema((Continuous("age", "years", 20, 90),))
    slices, volumes = Contract(schema, (8, 8)), Contract(schema, (8, 8, 8))
    flat, deep = (Extractor(name, "1", len, dims) for name, dims in (("inception-768", 2), ("medicalnet50", 3)))
    assert [e.name for e in Predictors.load(slices, more=[flat]).extractors] == ["pixels-24x24", "inception-768"]
    assert Predictors.load(volumes, more=[deep]).extractors[-1] is deep
    with pytest.raises(InputError, match="medicalnet50: images: found images of two axes; expected volumes"):
        Predictors.load(slices, more=[deep])
    with pytest.raises(InputError, match="inception-768: images: found volumes"):
        Predictors.load(volumes, more=[flat])
    with pytest.raises(InputError, match="medicalnet50"):
        Predictors.load(None, more=[deep])  # plain images
