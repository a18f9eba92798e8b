"""A study of a cohort whose covariates are called otherwise: everything is measured, by kind and unit."""

from __future__ import annotations

import dataclasses

from discs import SETTINGS, SIZE, hole_age, people, sample

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics.metric_id import MetricId
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.report import report
from brain_diffusion_jax.evaluation.study import study
from brain_diffusion_jax.evaluation.study.study_result import metrics_of

YEARS, GENDER = Continuous("lived years", "years", 20, 90), Categorical("gender", ("F", "M"))
HEIGHT = Continuous("cut", "mm", -10, 10)


def renamed(pictures: ImageSet) -> ImageSet:
    """The same pictures; a number that is no age comes first, and there is no slice."""
    conditions = [
        {"weight": 60.0 + i % 7, "lived years": c["age"], "gender": c["sex"]} for i, c in enumerate(pictures.conditions)
    ]
    return ImageSet(pictures.images, conditions, pictures.people)


def drawn(conditions, scale, seed):
    return sample([{"age": c["lived years"]} for c in conditions], scale, seed)


def test_a_cohort_of_other_names_gets_the_same_study(tmp_path):
    settings = dataclasses.replace(SETTINGS, bootstrap=0, guidance_scales=(3.0,))
    read = Instruments([study.pixel_extractor()], hole_age)
    plain = {"train": people(60, 1), "test": people(30, 2)}
    first = study.run_study(sample, plain, read, settings, tmp_path / "plain")
    schema = Schema((Continuous("weight", "kg", 50, 90), YEARS, GENDER))
    sets = {name: renamed(pictures) for name, pictures in plain.items()}
    result = study.run_study(drawn, sets, read, settings, tmp_path / "other", contract=Contract(schema, SIZE))
    names = {"age": "lived years", "sex": "gender"}
    for one, other in zip(first.rows, result.rows, strict=True):
        for metric in metrics_of([one]):
            same = dataclasses.replace(metric, covariate=names.get(metric.covariate, metric.covariate))
            assert other.numbers[str(same)] == one.numbers[str(metric)], metric
        assert other.has(MetricId("", "weight", "mae"))  # every other covariate has its pixel probe
        assert other.pictures["predicted lived years"] == one.pictures["predicted age"]
    assert result.target == "lived years"
    page = report.write_report(result, tmp_path / "other").read_text(encoding="utf-8")
    for words in ("Closest to the lived years asked for", "commonest gender", "weight MAE", "gender accuracy"):
        assert words in page


def test_a_slice_without_a_position_is_said(tmp_path):
    settings = dataclasses.replace(SETTINGS, bootstrap=0, guidance_scales=(3.0,), dark_fraction={"slice": 46})
    sets = {"train": people(20, 1), "test": people(12, 2)}
    result = study.run_study(sample, sets, Instruments([study.pixel_extractor()], hole_age), settings, tmp_path)
    assert any("no covariate says where a slice lies" in note for note in result.notes)
