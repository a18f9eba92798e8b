"""What the report says beyond the range: means, ends, Kendall's tau, and other studies beside."""

from __future__ import annotations

import numpy as np

from brain_diffusion_jax.covariates import Continuous
from brain_diffusion_jax.evaluation.probes.condition_fidelity import Extrapolation
from brain_diffusion_jax.evaluation.report.extrapolation_section import HEAD, extrapolation_section
from brain_diffusion_jax.evaluation.study.study_result import StudyResult

VOLUME = Continuous("ventricles", "mm3", 4000, 64000)
PLACES = np.array([-0.3, 0.5, 1.0, 1.3])


def study(*answers):
    curve = Extrapolation(PLACES, VOLUME.in_unit(PLACES), np.array(answers, float).T)
    found = {"covariate": VOLUME.to_json(), "reader": "the regressor", "curves": {"w=1": curve.to_json()}}
    return StudyResult("Model", {}, [], extrapolation={"ventricles": found})


def test_every_curve_has_its_means_and_its_ends():
    rising, falling = study([1, 2, 3, 4], [2, 3, 5, 4]), study([1, 3, 2, 1])
    found = extrapolation_section(rising, {"PCA-Gauss": falling, "no such study": StudyResult("other", {}, [])})
    means, ends = found["tables"]
    assert means["head"] == ["", "-0.3", "0.5", "1", "1.3"]
    assert [row["name"] for row in means["rows"]] == ["requested (mm3)", "w=1", "PCA-Gauss: w=1"]
    assert [cell["value"] for cell in means["rows"][1]["cells"]] == ["1.50", "2.50", "4.00", "4.00"]
    cells = {row["name"]: dict(zip(HEAD, (c["value"] for c in row["cells"]), strict=True)) for row in ends["rows"]}
    assert cells["w=1"]["rises to"] == "1"
    assert cells["w=1"]["monotone"] == "no"
    assert (cells["w=1"]["Kendall's tau: mean"], cells["w=1"]["least"], cells["w=1"]["images"]) == ("0.83", "0.67", "2")
    assert cells["PCA-Gauss: w=1"]["rises to"] == "0.5"
    assert len(found["figures"]) == 1
    assert "the regressor" in found["figures"][0]["caption"]


def test_a_study_that_asks_nothing_has_none():
    found = extrapolation_section(StudyResult("Model", {}, []), {})
    assert not found["figures"]
    assert not found["tables"]
