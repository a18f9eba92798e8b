"""A whole study with synthetic callables: numbers, resumption, bad input, the report."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from discs import SETTINGS, SIZE, hole_age, people, sample

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.probes.features import Extractor
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.report import report
from brain_diffusion_jax.evaluation.study import study
from brain_diffusion_jax.evaluation.study.study_result import StudyResult
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings

READ = Instruments([study.pixel_extractor()], hole_age)


@pytest.fixture(scope="module")
def real():
    return {"train": people(60, 1), "test": people(30, 2)}


@pytest.fixture(scope="module")
def done(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    result = study.run_study(sample, real, READ, SETTINGS, out)
    report.write_report(result, out)
    return result, out


def test_the_scale_that_draws_the_age_wins(done):
    result, _ = done
    weak, strong, real = result.row(1.0), result.row(3.0), result.real
    assert strong.value("age mae") < 0.5 * weak.value("age mae")
    assert strong.value("FD[pixels-24x24]") < weak.value("FD[pixels-24x24]")
    assert strong.value("age corrected slope") == pytest.approx(1, abs=0.2)
    assert weak.value("age corrected slope") < 0.5
    assert strong.value("dark fraction spearman") > 0.8
    assert real.value("dark fraction spearman") > 0.8
    assert weak.value("SSIM of pairs") > strong.value("SSIM of pairs")
    assert strong.value("coverage") > weak.value("coverage")
    assert 0.5 <= strong.value("sex majority") <= 0.6


def test_every_number_has_an_interval_around_it_or_is_a_count(done):
    result, _ = done
    for row in result.rows:
        assert row.num_pictures == 30  # equal N everywhere
        for metric, number in row.numbers.items():
            assert number["value"] is not None, (row.name, metric)
            if "of" in number:
                assert number["value"] == int(number["value"]) <= number["of"] == 30, (row.name, metric)
            else:
                assert None not in (number["low"], number["high"]), (row.name, metric)
                assert number["low"] <= number["high"], (row.name, metric)


def test_result_survives_its_file(done):
    result, out = done
    again = StudyResult.load(out)
    assert again.to_json() == result.to_json()
    lines = (out / "metrics.csv").read_text().splitlines()
    assert lines[0] == "row,guidance_scale,num_pictures,num_people,metric,value,low,high"
    assert len((out / "pictures.csv").read_text().splitlines()) == 1 + 30 * len(result.rows)
    assert "p2-" not in (out / "pictures.csv").read_text()  # no person's id


def test_report_needs_no_network(done):
    result, out = done
    html = (out / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", html)
    assert "http" not in re.sub(r"data:[^\"']+", "", html)
    for row in result.rows:
        assert row.name in html
    assert html.count("data:image/svg+xml") >= 4


def test_an_interrupted_study_continues_with_the_same_pictures(real, done, tmp_path):
    calls = []

    def failing(conditions, scale, seed):
        calls.append((scale, seed))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return sample(conditions, scale, seed)

    arguments = (real, READ, SETTINGS, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        study.run_study(failing, *arguments)
    result = study.run_study(failing, *arguments)
    assert len(calls) == 9  # 2 scales x 4 chunks, and the one that failed again
    assert result.to_json()["rows"] == done[0].to_json()["rows"]
    seeds = {scale: [s for w, s in calls if w == scale] for scale in (1.0, 3.0)}
    assert set(seeds[1.0]) == set(seeds[3.0])  # common noise


def test_another_plan_in_the_same_folder_is_refused(real, done):
    other = StudySettings(**{**vars(SETTINGS), "seed": 5})
    with pytest.raises(InputError, match=r"plan\.json: seed"):
        study.run_study(sample, real, READ, other, done[1])


def test_without_a_regressor_the_study_says_so(real, tmp_path):
    asked = {"extrapolate": ("age",), "extrapolate_images": 2}
    settings = StudySettings(
        **{**vars(SETTINGS), "bootstrap": 0, "num_samples": 50, "guidance_scales": (3.0,), **asked}
    )
    result = study.run_study(sample, real, Instruments([study.pixel_extractor()]), settings, tmp_path)
    notes = " ".join(result.notes)
    assert "No age regressor" in notes
    assert "50 images per scale were requested" in notes
    assert "fewer than the" in notes  # fewer pictures than feature dimensions
    assert np.isfinite(result.row(3.0).value("FD[pixels-24x24]"))
    assert "age mae" not in result.real.numbers
    assert result.row(3.0).value("age, second reader mae") < 10
    assert "w=3: Mean age rises from" in notes
    assert StudyResult.load(tmp_path).extrapolation["age"]["reader"] == "a linear probe of pixels"
    report.write_report(result, tmp_path)
    assert "Beyond the range of the training data" in (tmp_path / "report.html").read_text()


def test_people_on_both_sides_are_reported(real):
    mixed = {"train": real["train"], "test": real["train"][np.arange(5)]}
    _, notes = study.choose_images(mixed, SETTINGS)
    assert "5 of 5 evaluated people are also in the training split" in notes[0]


def bad_sample(conditions, scale, seed):
    pictures = sample(conditions, scale, seed)
    pictures[0, 3, 3] = np.nan
    return pictures


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sample_fn": bad_sample}, r"samples at w=1, chunk 0: values: found NaN"),
        ({"sample_fn": lambda c, s, k: sample(c, s, k) * 255}, "range"),
        ({"sample_fn": lambda c, s, k: sample(c, s, k)[:, 1:]}, "shape"),
        ({"settings": StudySettings(evaluated="held-out")}, "evaluated split: found held-out"),
        ({"settings": StudySettings(guidance_scales=())}, "guidance_scales"),
        ({"test": people(30, 2)[np.arange(0)]}, "an empty set"),
        ({"test": ImageSet(np.zeros((4, 30, 30), np.uint8), [{}] * 4, list("abcd"))}, "image shape"),
        ({"test": ImageSet(np.full((4, *SIZE), np.nan), [{}] * 4, list("abcd"))}, "NaN or Inf in 4 of 4"),
        ({"test": ImageSet(np.full((4, *SIZE), 200.0), [{}] * 4, list("abcd"))}, "range: found 200"),
    ],
)
def test_bad_input_is_refused(real, tmp_path, change, words):
    sets = {**real, **({"test": change["test"]} if "test" in change else {})}
    with pytest.raises(InputError, match=words):
        study.run_study(
            change.get("sample_fn", sample),
            sets,
            READ,
            change.get("settings", SETTINGS),
            tmp_path,
        )


def test_an_extractor_that_gives_nonsense_is_named(real, tmp_path):
    broken = Extractor("broken", "1", lambda x: np.full((len(x), 3), np.inf))
    settings = StudySettings(guidance_scales=(3.0,), batch_size=30)
    with pytest.raises(InputError, match="extractor broken"):
        study.run_study(sample, real, Instruments([broken], hole_age), settings, tmp_path)


def test_comparison_keeps_different_extractors_apart(done, tmp_path):
    result, _ = done
    other = StudyResult.from_json(json.loads(json.dumps(result.to_json())))
    other.method["extractors"] = {"pixels-24x24": "another"}
    other.method["num_pictures"] = 12
    html = report.write_comparison({"a": result, "b": other}, tmp_path).read_text()
    assert "FD[pixels-24x24] another" in html
    assert "different numbers of pictures" in html
    with pytest.raises(InputError, match="at least 2"):
        report.write_comparison({"a": result}, tmp_path)
    same = report.comparison_section({"a": result, "b": result})["tables"][0]
    names = [row["name"] if isinstance(row, dict) else str(row) for row in same["rows"]]
    assert sum("real" in name for name in names) == sum(row.scale is None for row in result.rows)  # once, not twice
