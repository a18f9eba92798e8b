"""Colour slices and volumes go through study, sets and copies like grey slices; what is grey or 2D says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.probes.probe import Instruments
from brain_diffusion_jax.evaluation.report import report
from brain_diffusion_jax.evaluation.study import matched_sets, study, two_sets
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings

SHAPES = {"three channels": (16, 14, 3), "volumes": (12, 14, 13, 1)}
SETTINGS = StudySettings(guidance_scales=(1.0, 3.0), bootstrap=4, batch_size=8, title="Shapes", model="boxes")


def draw(age: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A smooth texture of one's own in a box whose last channel (or all of it) is as bright as the person is old."""
    spatial = shape[:-1]
    grain = gaussian_filter(rng.standard_normal(shape), [1.0] * len(spatial) + [0])
    image = 0.1 * grain / grain.std() + 0.3
    image[..., -1] += age / 200
    inside = np.zeros(spatial, bool)
    inside[tuple(slice(2, -2) for _ in spatial)] = True
    return np.clip(np.where(inside[..., None], image, 0), 0, 1).astype(np.float32)


def read_age(images: np.ndarray) -> np.ndarray:
    inner = (slice(None), *[slice(2, -2)] * (images.ndim - 2), -1)
    return 200 * (images[inner].reshape(len(images), -1).mean(1) - 0.3)


def people(shape: tuple[int, ...], count: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 90, count).round()
    conditions = [{"age": a, "sex": "FM"[i % 2]} for i, a in enumerate(ages)]
    images = np.stack([draw(a, shape, rng) for a in ages])
    return ImageSet(np.round(255 * images).astype(np.uint8), conditions, [f"{seed}-{i}" for i in range(count)])


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def shape(request) -> tuple[int, ...]:
    return request.param


@pytest.fixture(scope="module")
def real(shape) -> dict[str, ImageSet]:
    return {"train": people(shape, 26, 1), "test": people(shape, 14, 2)}


@pytest.fixture(scope="module")
def instruments(shape) -> Instruments:
    return Instruments([study.pixel_extractor(len(shape) - 1)], read_age)


@pytest.fixture(scope="module")
def done(shape, real, instruments, tmp_path_factory):
    """At w=3 the requested age is drawn, at w=1 the mean one, and its first image copies a training image."""

    def sample(conditions, scale, seed):
        rng = np.random.default_rng(seed)
        images = np.stack([draw(c["age"] if scale == 3 else 55.0, shape, rng) for c in conditions])
        if scale == 1 and conditions[0] == real["test"].conditions[0]:
            images[0] = real["train"].unit[5]
        return images

    out = tmp_path_factory.mktemp("study")
    return study.run_study(sample, real, instruments, SETTINGS, out), out


def test_the_study_measures_every_row(done, shape, real):
    result, out = done
    first, weak, strong = result.real, result.row(1.0), result.row(3.0)
    extractor = "pixels-24x24" if len(shape) == 3 else "pixels-8x8x8"
    assert strong.value("age mae") < 8 < weak.value("age mae")
    assert strong.value(f"FD[{extractor}]") < weak.value(f"FD[{extractor}]")
    of_pairs = "SSIM of pairs" if len(shape) == 3 else "4-G-R-SSIM of pairs"
    for name in (of_pairs, "gradient energy ratio", "symmetry mean", "sex accuracy", "age, second reader mae"):
        assert np.isfinite(strong.value(name)), name
    assert first.value("age mae") < 8
    assert not strong.has("dark fraction mean")
    assert strong.has("dark tissue mean") == (shape[-1] == 1)
    missing = "dark fractions" if shape[-1] == 1 else "dark and tissue fractions"
    assert any(f"{shape} are no grey slices: they have no {missing}" in note for note in result.notes)
    assert result.privacy["scales"]["w=1"]["pairs"] == [[0, 5]]
    assert result.privacy["scales"]["w=3"]["pairs"] == []
    page = report.write_report(result, out).read_text(encoding="utf-8")
    # A strip for each of three rows and the copied pair; of volumes planes and a slider of each row too.
    assert page.count("data:image/png") == (4 if len(shape) == 3 else 10)
    assert page.count('type="range"') == (0 if len(shape) == 3 else 3)


def test_two_sets_and_matched_sets_have_the_numbers_of_a_study(done, shape, real, instruments):
    result, _ = done
    extractor = f"FD[{instruments.extractors[0].name}]"
    numbers = two_sets.compare(real["test"], real["test"], instruments, replicates=0)
    assert numbers[extractor]["value"] == pytest.approx(0, abs=1e-9)
    assert numbers["age, real mae"]["value"] == pytest.approx(result.real.value("age mae"))
    if len(shape) == 3:
        assert numbers["SSIM of pairs, real"]["value"] == pytest.approx(result.real.value("SSIM of pairs"))
    sets = matched_sets.of(real["test"], instruments, None, replicates=0)
    row = sets.columns(real["test"].unit)
    assert row[extractor] == pytest.approx(0, abs=1e-9)
    assert "dark fraction error" not in row


def test_a_dark_fraction_of_such_images_is_refused_with_their_shape(shape, real, instruments, tmp_path):
    settings = dataclasses.replace(SETTINGS, dark_fraction={"threshold_unit": 0.3})
    drawn = lambda conditions, scale, seed: np.stack([draw(50, shape, np.random.default_rng(0))] * len(conditions))  # noqa: E731
    with pytest.raises(InputError, match=r"study\.dark_fraction: image shape: found \(1[26], 14, .*grey slices"):
        study.run_study(drawn, real, instruments, settings, tmp_path)
