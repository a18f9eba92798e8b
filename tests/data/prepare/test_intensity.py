from __future__ import annotations

import numpy as np
import pytest
from small_cohort import brain

from brain_diffusion_jax.data.prepare import intensity, nifti
from brain_diffusion_jax.data.prepare.intensity import IntensityRule, Window
from brain_diffusion_jax.errors import InputError


@pytest.mark.parametrize("rule", ["fixed", "percentile", "white_matter"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_stored_pixels_map_back(rule, dtype):
    chosen = IntensityRule(rule, **({"low": 10.0, "high": 200.0} if rule == "fixed" else {}), dtype=dtype)
    data = brain()
    window = intensity.find_window(data, chosen)
    stored = intensity.to_stored(data, window, dtype)
    assert stored.dtype == dtype
    unit = stored.astype(np.float32) / (255 if dtype == "uint8" else 1)
    back = window.low + unit * (window.high - window.low)  # as the contract's `inverse` says
    step = (window.high - window.low) / 255
    np.testing.assert_allclose(back, np.clip(data, *window), atol=step * 0.51 if dtype == "uint8" else 1e-3)


def test_percentile_and_peak_ignore_the_unit():
    for rule in (IntensityRule("percentile"), IntensityRule("white_matter")):
        a = intensity.to_stored(brain(), intensity.find_window(brain(), rule), "uint8")
        b = intensity.to_stored(brain() * 37, intensity.find_window(brain() * 37, rule), "uint8")
        assert np.abs(a.astype(int) - b).max() <= 1


def test_deepbrainnet_rule_puts_the_97th_percentile_at_185():
    rule = IntensityRule("percentile", low=0.0, high=97.0, top=185 / 255)
    data = brain()
    window = intensity.find_window(data, rule)
    percentile = np.percentile(data[data > 0], 97)
    assert intensity.to_stored(np.array([0.0, percentile]), window, "uint8").tolist() == [0, 185]


def test_white_matter_peak_of_a_known_mixture():
    rng = np.random.default_rng(0)
    tissue = [rng.normal(m, s, n) for m, s, n in ((30, 8, 20_000), (70, 6, 40_000), (105, 5, 35_000), (180, 20, 800))]
    values = np.abs(np.concatenate([np.zeros(50_000), *tissue])).astype(np.float32)
    assert intensity.white_matter_peak(values) == pytest.approx(105, abs=2)


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"rule": "percentil"}, "rule"),
        ({"dtype": "int16"}, "dtype"),
        ({"rule": "fixed", "low": 5, "high": 5}, "low, high"),
        ({"rule": "percentile", "high": 120}, "low, high"),
        ({"top": 0.0}, "top"),
    ],
)
def test_wrong_rules_are_refused(keys, field):
    with pytest.raises(InputError, match=rf"prepare.intensity: {field}: found"):
        IntensityRule(**keys)


def test_a_fixed_window_that_does_not_fit_is_noticed():
    assert intensity.check_fixed_window(brain(), Window(0, 200), "a.nii") is None
    assert "above the fixed high" in str(intensity.check_fixed_window(brain() * 100, Window(0, 200), "a.nii"))
    assert "darkest tenth" in str(intensity.check_fixed_window(brain() / 100, Window(0, 200), "a.nii"))


@pytest.mark.realdata
def test_real_white_matter_peaks(real_data):
    """The publisher says OASIS white matter peaks near 1.05."""
    paths = sorted((real_data("oasis1_mni2mm") / "volumes").glob("*.nii.gz"))[:60:12]
    peaks = [intensity.white_matter_peak(nifti.read_volume(path).data) for path in paths]
    assert np.allclose(peaks, 1.05, atol=0.12), peaks
