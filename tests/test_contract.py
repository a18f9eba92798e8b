from __future__ import annotations

import dataclasses

import pytest

from brain_diffusion_jax.contract import (
    Contract,
    ContractMismatch,
    Intensity,
    SliceSet,
    differences,
    require_same,
)
from brain_diffusion_jax.covariates import Continuous, Schema
from brain_diffusion_jax.errors import InputError

CONTRACT = Contract(
    schema=Schema((Continuous("age", "years", 18, 88),)),
    image_size=(109, 91),
    spacing_mm=(2.0, 2.0, 2.0),
    intensity=Intensity("fixed", 0, 255),
    slices=SliceSet("axial", indices=(40, 41)),
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


# As prepare of 0.1 wrote them: one grid for all, each scan's own, and pictures.
AFFINE = [[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
RELEASED = [
    {
        "grid": {
            "name": "mni",
            "shape": [2, 3, 4],
            "affine": [[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        },
        "slices": {
            "axis": "axial",
            "unit": "index",
            "rule": {"rule": "list_index"},
            "indices": [2],
            "positions_mm": [2.0],
        },
        "fit": {"rule": "none", "native_size": [3, 2]},
        "intensity": {
            "rule": "fixed",
            "low": 0.0,
            "high": 200.0,
            "dtype": "uint8",
            "top": 1.0,
            "inverse": "...",
        },
        "split": {"unit": "person", "seed": 1, "train": 0.5, "validation": 0, "test": 0.5, "stratify": ["age"]},
    },
    {
        "grid": {"name": "native", "spacing_mm": []},
        "slices": {"axis": "coronal", "unit": "index", "rule": {"axis": "coronal"}},
        "fit": {"rule": "resize", "native_size": None, "size": [12, 10], "method": "area"},
        "split": {"unit": "slice", "warning": "far too good"},
    },
    {
        "kind": "pictures",
        "grid": {},
        "fit": {"size": 16, "crop": False, "tilt_share": [0.4, 0.82], "on_failure": "keep"},
        "split": {"unit": "person", "copies": "same_side", "near_duplicate": 0.97},
    },
]


@pytest.mark.parametrize("items", RELEASED, ids=["grid", "native", "pictures"])
def test_the_json_of_released_contracts_is_unchanged(items):
    whole = Contract.from_json({"schema": [], "image_size": [3, 2], **items}).to_json()
    assert {name: whole[name] for name in items} == items
    assert "channels" not in whole


def test_channels_and_the_shape_of_an_image():
    colour = dataclasses.replace(CONTRACT, channels=3)
    assert colour.shape == (109, 91, 3)
    assert Contract.from_json(colour.to_json()) == Contract.from_json({**CONTRACT.to_json(), "channels": 3})
    assert differences(CONTRACT, colour) == ["channels: 1 against 3"]
    with pytest.raises(InputError, match=r"channels: found 0"):
        Contract.from_json({**CONTRACT.to_json(), "channels": 0})


def test_left_and_right_lie_along_columns_or_the_first_axis_of_a_volume():
    assert CONTRACT.left_right_axis == 1
    assert dataclasses.replace(CONTRACT, slices=SliceSet("sagittal")).left_right_axis is None
    assert dataclasses.replace(CONTRACT, kind="volumes", image_size=(4, 4, 4)).left_right_axis == 0
