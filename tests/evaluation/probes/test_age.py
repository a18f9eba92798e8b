"""Age metrics against scikit-learn-like formulas, and the correction of bias."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.agreement import BiasCorrection, agreement, correction_of
from brain_diffusion_jax.evaluation.probes import age as evaluation
from brain_diffusion_jax.evaluation.probes.age_prediction import person_summary, predict_slices


def people(age, predicted):
    names = [f"p{i}" for i in range(len(age))]
    return evaluation.by_scan(names, names, np.asarray(age, float), np.asarray(predicted, float))


def test_metrics_by_hand():
    age, predicted = np.array([20.0, 40, 60]), np.array([26.0, 40, 57])
    found = {k: v["value"] for k, v in evaluation.metrics(age, predicted, ["a", "b", "c"], replicates=20).items()}
    assert found["mae"] == pytest.approx(3.0)
    assert found["mse"] == pytest.approx(15.0)
    assert found["rmse"] == pytest.approx(np.sqrt(15))
    assert found["bias"] == pytest.approx(1.0)
    assert found["r2"] == pytest.approx(1 - 45 / 800)
    assert found["r"] == pytest.approx(np.corrcoef(age, predicted)[0, 1])


def test_slices_become_people_by_their_median():
    person = ["a"] * 5 + ["b"] * 3
    found = evaluation.by_scan(
        person, person, np.repeat([30.0, 70.0], [5, 3]), np.array([1, 2, 30, 31, 99, 70, 71, 69.0])
    )
    assert found.person == ["a", "b"]
    np.testing.assert_array_equal(found.predicted, [30, 70])
    np.testing.assert_array_equal(found.slices, [5, 3])
    assert found.spread[0] > found.spread[1]


def test_correction_takes_the_slope_away_on_new_people():
    generator = np.random.default_rng(0)
    age = generator.uniform(20, 90, 4000)
    predicted = 25 + 0.6 * age + generator.normal(0, 2, 4000)  # shrunk towards the mean, as regressors do
    correction = correction_of(age[:2000], predicted[:2000])
    left, new = age[2000:], predicted[2000:]
    assert abs(np.polyfit(left, correction(new) - left, 1)[0]) < 0.02
    assert np.polyfit(left, new - left, 1)[0] < -0.35
    assert agreement(left, correction(new)).mae < agreement(left, new).mae


def test_the_interval_covers_people_not_slices():
    generator = np.random.default_rng(1)
    age = np.repeat(generator.uniform(20, 90, 12), 40)
    error = np.repeat(generator.normal(0, 8, 12), 40)  # all slices of a person err alike
    names = np.repeat([f"p{i}" for i in range(12)], 40).tolist()
    by_people = evaluation.metrics(age, age + error, names, replicates=200)["mae"]
    by_slices = evaluation.metrics(age, age + error, [str(i) for i in range(480)], replicates=200)["mae"]
    assert by_people["high"] - by_people["low"] > 3 * (by_slices["high"] - by_slices["low"])


def test_report_bands_table_and_plot(tmp_path):
    age = np.array([20.0, 25, 45, 65, 70, 85])
    predicted = age + np.array([5.0, 5, 0, -2, -2, -6])
    found = evaluation.report(people(age, predicted), (age, predicted, list("abcdef")), BiasCorrection(), replicates=10)
    assert [row["count"] for row in found["bias_by_age"]] == [2, 1, 1, 1, 1]
    assert found["bias_by_age"][0]["bias"] == pytest.approx(5.0)
    assert found["error_against_age_r"] < -0.9
    assert "mae" in evaluation.table(found)
    evaluation.calibration_plot(tmp_path / "c.png", people(age, predicted), BiasCorrection(0.8, 5.0))
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_bad_predictions_are_refused():
    with pytest.raises(InputError, match="finite"):
        evaluation.metrics(np.array([20.0, 30]), np.array([np.nan, 3]), ["a", "b"])


def test_one_call_predicts_every_slice_and_padding_changes_nothing():
    def apply(variables, images, features=False):
        return images[:, 0, :, 0] if features else variables * images.sum((1, 2, 3))

    images = np.random.default_rng(0).integers(0, 255, (23, 4, 3, 1), np.uint8)
    ages, features = predict_slices(apply, np.float32(2.0), images, batch_size=5)
    np.testing.assert_allclose(features, images[:, 0, :, 0] / 255.0, rtol=1e-5)
    np.testing.assert_allclose(ages, 2 * (images / 255.0).sum((1, 2, 3)), rtol=1e-5)
    summary = person_summary(np.array([1.0, 50, 51, 52, 99]))
    assert summary["age"] == 51
