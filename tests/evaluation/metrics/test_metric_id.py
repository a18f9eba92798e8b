"""Names of numbers: what release 0.1 wrote is what `str` gives, and `parse` reads it back."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from brain_diffusion_jax.evaluation.metrics.metric_id import CORRECTED, DARK, REAL, SECOND, SSIM, MetricId

RELEASED = Path(__file__).resolve().parents[2] / "released" / "v0.1.tar.xz"


@pytest.mark.parametrize(
    ("metric", "key"),
    [
        (MetricId("FD", reader="small_cnn-pool"), "FD[small_cnn-pool]"),
        (MetricId("FD", statistic="more", reader="a[b] c"), "FD[a[b] c] more"),
        (MetricId("", "age", "mae"), "age mae"),
        (MetricId("", "age", "r", SECOND), "age, second reader r"),
        (MetricId(CORRECTED, "age", "slope", SECOND), "age, second reader corrected slope"),
        (MetricId("", "age", "bias", REAL), "age, real bias"),
        (MetricId("", "height, cm", "mae"), "height, cm mae"),
        (MetricId("", "symmetry", "mae"), "symmetry mae"),
        (MetricId("", "tumour kind", "accuracy"), "tumour kind accuracy"),
        (MetricId(DARK, statistic="over 75"), "dark fraction over 75"),
        (MetricId(SSIM, reader=REAL), "SSIM of pairs, real"),
        (MetricId(f"MS-{SSIM} (4 scales)"), "MS-SSIM of pairs (4 scales)"),
        (MetricId("privacy", statistic="held_out_copies"), "privacy held_out_copies"),
        (MetricId(statistic="precision"), "precision"),
    ],
)
def test_a_name_and_its_key(metric, key):
    assert str(metric) == key
    assert MetricId.parse(key) == metric


def test_every_key_of_a_released_study_comes_back():
    with tarfile.open(RELEASED) as archive:
        study = json.load(archive.extractfile("./study/study.json"))
    keys = {key for row in study["rows"] for key in row["numbers"]}
    assert len(keys) > 50
    for key in keys:
        assert str(MetricId.parse(key)) == key
    found = [MetricId.parse(key) for key in keys]
    assert {metric.covariate for metric in found} == {"", "age", "sex", "slice"}
    assert {m.reader for m in found if m.covariate} == {"", SECOND}
