"""Which regressors may read a study's images."""

from __future__ import annotations

import dataclasses

import pytest
import tiny_runs

from brain_diffusion_jax.api.predictors import load_regressor
from brain_diffusion_jax.contract import ContractMismatch, Intensity
from brain_diffusion_jax.errors import InputError


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
