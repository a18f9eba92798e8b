"""A study by the protocol of a paper has that paper's table beside its own rows."""

from __future__ import annotations

import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.report.report_tables import protocol_table
from brain_diffusion_jax.evaluation.study.published import PROTOCOL_SOURCE
from brain_diffusion_jax.evaluation.study.study_result import Row
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings


def row(name, scale, **numbers):
    values = {key.replace("_", " "): {"value": value, "low": None, "high": None} for key, value in numbers.items()}
    return Row(name, scale, 4, 4, {**values, "MS-SSIM7[4] of pairs": {"value": 0.71, "low": 0.6, "high": 0.8}})


def test_own_rows_then_published_ones():
    rows = [row("real", None), row("w=2", 2.0, **{"4-G-R-SSIM_of_pairs": 0.42, "FD[medicalnet50]": 0.0123})]
    rows[1].numbers["FD[pixels-8x8x8]"] = {"value": 5.0, "low": None, "high": None}
    found = protocol_table(rows, "pinaya2022")
    assert found["head"] == ["", "FID (medicalnet50)", "MS-SSIM", "4-G-R-SSIM"]
    assert found["caption"] == PROTOCOL_SOURCE
    cells = {line["name"]: [cell["value"] for cell in line["cells"]] for line in found["rows"]}
    assert cells["w=2"] == ["0.0123", "0.7100", "0.4200"]
    assert cells["real"] == ["–", "0.7100", "–"]
    assert cells["published: LSGAN"] == ["0.0231", "0.9997", "0.9969"]
    assert found["rows"][0]["real"]
    assert found["rows"][1]["cells"][1]["interval"] == "0.600 to 0.800"


def test_the_distance_of_another_network_is_named_and_told_apart():
    rows = [row("real", None, **{"FD[deepbet]": 0.2})]
    found = protocol_table(rows, "pinaya2022")
    assert found["head"][1] == "FID (deepbet)"
    assert found["rows"][0]["cells"][0]["value"] == "0.2000"
    assert "of MedicalNet's features, ours of deepbet" in found["caption"]
    assert protocol_table([row("real", None)], "pinaya2022")["head"][1] == "FID"


def test_no_protocol_no_table_and_unknown_ones_are_refused():
    assert protocol_table([row("real", None)], "") is None
    assert StudySettings(protocol="pinaya2022").pairs == 1000
    with pytest.raises(InputError, match=r"study\.protocol: found pinaya; expected one of pinaya2022"):
        StudySettings(protocol="pinaya")
