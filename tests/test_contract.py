from __future__ import annotations

import dataclasses

import pytest

from brain_diffusion_jax.contract import Contract, ContractMismatch, differences, require_same
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.errors import InputError

CONTRACT = Contract(
    schema=Schema((Continuous("age", "years", 18, 88),)),
    image_size=(109, 91),
    spacing_mm=(2.0, 2.0, 2.0),
    intensity={"rule": "fixed", "low": 0, "high": 255},
    slices={"axis": "axial", "indices": (40, 41)},
    fingerprint="abc",
)


def test_a_contract_equals_itself_after_disk(tmp_path):
    CONTRACT.save(tmp_path)
    loaded = Contract.load(tmp_path)
    assert differences(CONTRACT, loaded) == []
    require_same(CONTRACT, loaded, tmp_path, same_data=True)


def test_a_mismatch_names_every_differing_field_and_both_values():
    other = dataclasses.replace(CONTRACT, image_size=(96, 128), spacing_mm=(1.0, 1.0, 1.0), package_version="9")
    with pytest.raises(ContractMismatch) as caught:
        require_same(CONTRACT, other, "runs/x")
    message = str(caught.value)
    assert all(word in message for word in ("runs/x", "image_size", "[109, 91]", "[96, 128]", "spacing_mm"))
    assert "package_version" not in message


def test_other_people_are_refused_only_where_data_must_be_the_same():
    other = dataclasses.replace(CONTRACT, fingerprint="def")
    require_same(CONTRACT, other, "x")
    with pytest.raises(ContractMismatch, match="fingerprint"):
        require_same(CONTRACT, other, "x", same_data=True)


@pytest.mark.parametrize("text", ["{", '{"image_size": [1, 2]}', '{"schema": [], "image_size": [1], "colour": 1}'])
def test_a_broken_contract_file_is_named(tmp_path, text):
    (tmp_path / "contract.json").write_text(text)
    with pytest.raises(InputError, match=r"contract\.json"):
        Contract.load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        Contract.load(tmp_path / "nowhere")
