"""Plots say what they show, and are the same for the same numbers."""

from __future__ import annotations

import base64

import numpy as np

from brain_diffusion_jax.covariates import Continuous
from brain_diffusion_jax.evaluation.probes.condition_fidelity import Answered, Extrapolation, fidelity_rows
from brain_diffusion_jax.evaluation.report.condition_curves import condition_curves, extrapolation_curves

VOLUME = Continuous("ventricles", "mm3", 4000, 64000)


def svg(uri):
    assert uri.startswith("data:image/svg+xml;base64,")
    return base64.b64decode(uri.partition(",")[2]).decode()


def rows(slope):
    asked = np.linspace(5000, 60000, 12)
    people = [str(i) for i in range(12)]
    sets = {
        "real people": Answered(asked, asked, people, generated=False),
        "model": Answered(asked, 9000 + slope * asked, people),
    }
    return fidelity_rows(VOLUME, sets, replicates=0)


def test_a_panel_for_each_set_with_its_slope():
    found = svg(condition_curves(rows(0.4), VOLUME))
    for words in ("real people", "slope 0.40, r 1.000", "slope 1.00", "requested ventricles (mm3)", "recorded"):
        assert words in found
    assert found == svg(condition_curves(rows(0.4), VOLUME))
    assert found != svg(condition_curves(rows(0.8), VOLUME))
    assert condition_curves(rows(0.4), Continuous("age", "years", 0, 1)) == ""


def test_extrapolation_says_how_far_it_rises():
    places = np.array([-0.3, 0.5, 1.0, 1.3])
    requested = VOLUME.in_unit(places)
    curve = Extrapolation(places, requested, np.stack([requested, requested + 10], 1))
    flat = Extrapolation(places, requested, np.stack([[1.0, 2.0, 1.5, 1.2]] * 2, 1))
    found = svg(extrapolation_curves({"model": curve, "other": flat}, VOLUME))
    assert "model, rising to 1.3 of the range" in found
    assert "other, rising to 0.5 of the range" in found
    assert extrapolation_curves({}, VOLUME) == ""
