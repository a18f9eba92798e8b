"""Which regressors may read a study's images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_runs

from brain_diffusion_jax.api.predictors import Predictors, load_regressor
from brain_diffusion_jax.contract import Contract, ContractMismatch, Intensity
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.data.prepare.head_volumes import Region
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


def test_measured_conditions_are_read_by_the_region_of_the_shards(tmp_path):
    inside = np.zeros((4, 4, 4), bool)
    inside[1:3, 1, 1] = True
    region = Region(inside, np.ones((4, 4, 4), bool), np.diag([2.0, 2, 2, 1]), 0.3, 0.1, 0.5)
    schema = Schema((Continuous("ventricles", "mm3", 1, 90),))
    contract = Contract(schema, (4, 4, 4), kind="volumes", measured={"region": region.digest})
    with pytest.raises(InputError, match="region: found no such file"):
        Predictors.load(contract, shards=tmp_path)
    region.save(tmp_path)
    measures = Predictors.load(contract, shards=tmp_path).instruments.measures
    volumes = np.ones((2, 4, 4, 4, 1), np.float32)
    volumes[1, inside] = 0.1
    assert measures["ventricles"](volumes).tolist() == pytest.approx([0, 16])
    assert measures["brain"](volumes).tolist() == [1, 62 / 64]
    with pytest.raises(InputError, match="another region was used"):
        Predictors.load(dataclasses.replace(contract, measured={"region": "sha256:0"}), shards=tmp_path)
    assert Predictors.load(dataclasses.replace(contract, measured={}), shards=tmp_path).measures == {}
