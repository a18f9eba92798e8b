"""KID, precision and recall, density and coverage, bootstrap intervals, nearest neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import bootstrap, measures, memorisation
from brain_diffusion_jax.evaluation.metrics.kid import mmd2
from brain_diffusion_jax.evaluation.metrics.precision_recall import scores_of_distances, squared_distances
from brain_diffusion_jax.evaluation.probes import features

RNG = np.random.default_rng


def test_kid_is_unbiased_and_follows_its_formula():
    rng = RNG(0)
    x, y = rng.normal(size=(12, 5)), rng.normal(size=(9, 5)) + 1

    def kernel(a, b):
        return (a @ b / 5 + 1) ** 3

    def mean(pairs):
        return np.mean([kernel(a, b) for a, b in pairs])

    expected = mean([(x[i], x[j]) for i in range(12) for j in range(12) if i != j])
    expected += mean([(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
    expected -= 2 * mean([(a, b) for a in x for b in y])
    assert mmd2(x, y) == pytest.approx(expected)
    equal = [mmd2(rng.normal(size=(20, 5)), rng.normal(size=(20, 5))) for _ in range(200)]
    assert abs(np.mean(equal)) < 3 * np.std(equal) / np.sqrt(200)  # no bias from the number of pictures


def manifold_scores(real, generated):
    within = (squared_distances(side, side) for side in (real, generated))
    return scores_of_distances(*within, squared_distances(real, generated))


def test_manifold_scores_see_what_they_are_meant_to_see():
    rng = RNG(1)
    real = np.concatenate([rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 20])
    one_mode = rng.normal(size=(120, 3))
    far = rng.normal(size=(120, 3)) + 100
    both = np.concatenate([rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 20])
    good, half, bad = (manifold_scores(real, g) for g in (both, one_mode, far))
    assert min(good.precision, good.recall, good.coverage) > 0.85
    assert half.precision > 0.85
    assert half.recall == pytest.approx(0.5, abs=0.1)
    assert half.coverage <= 0.5
    assert bad == (0, 0, 0, 0)
    same = manifold_scores(real, real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    with pytest.raises(InputError, match="more than k = 5"):
        manifold_scores(real[:5], real)


def test_intervals_resample_people_not_pictures():
    """Twenty copies of each person's picture must not shrink the interval of a mean."""
    values = RNG(2).normal(size=25)
    people = [str(i) for i in range(25)]
    single = bootstrap.interval(lambda rows: values[rows].mean(), people, replicates=400)
    repeated = np.repeat(values, 20)
    many = bootstrap.interval(lambda rows: repeated[rows].mean(), list(np.repeat(people, 20)), replicates=400)
    width, width_many = single.high - single.low, many.high - many.low
    assert width_many == pytest.approx(width, rel=0.15)
    assert width == pytest.approx(2 * 1.96 * values.std() / 5, rel=0.2)


def test_half_samples_have_the_spread_of_the_whole():
    """The claim in the docstring: intervals of halves without replacement are as wide as the true spread."""
    rng = RNG(3)
    people = [str(i) for i in range(60)]

    def difference(x, y):
        return lambda a, b: [x[a].mean() - y[b].mean()]

    widths = []
    for _ in range(20):
        x, y = rng.normal(size=60), rng.normal(size=60)
        found = bootstrap.intervals_of_two(difference(x, y), people, people, replicates=100)[0]
        widths.append(found.high - found.low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.sqrt(2 / 60), rel=0.12)


def test_split_halves_share_no_person():
    people = [str(i % 7) for i in range(30)]
    first, second = bootstrap.split_halves(people, seed=0)
    assert not {people[i] for i in first} & {people[i] for i in second}
    assert len(first) + len(second) == 30
    assert abs(len(first) - len(second)) <= 5
    with pytest.raises(InputError, match="1 person"):
        bootstrap.split_halves(["a", "a"], seed=0)


def test_features_of_different_extractors_are_never_compared():
    a = features.Features("inception-768", "1", np.zeros((6, 2), np.float32))
    b = features.Features("small_cnn-pool", "1", np.zeros((6, 2), np.float32))
    with pytest.raises(InputError, match=r"found small_cnn-pool \(1\); expected inception-768"):
        measures.distances(b, a, list("abcdef"), list("abcdef"), 0, 0)


def test_extract_streams_and_refuses_nonsense():
    sizes = []

    def brightness(images):
        sizes.append(len(images))
        assert images.max() <= 1
        return images.mean((1, 2))

    extractor = features.Extractor("brightness", "1", brightness)
    found = features.extract(extractor, np.full((7, 4, 4), 255, np.uint8), batch_size=3)
    assert sizes == [3, 3, 1]
    np.testing.assert_allclose(found.values, 1)
    with pytest.raises(InputError, match="an empty set"):
        features.extract(extractor, np.zeros((0, 4, 4), np.uint8))
    with pytest.raises(InputError, match="shape"):
        features.extract(features.Extractor("flat", "1", lambda x: x.mean((1, 2, 3))), np.zeros((2, 4, 4)))


def textured(count, seed):
    noise = gaussian_filter(RNG(seed).normal(size=(count, 40, 36)), (0, 2, 2))
    return np.clip(0.5 + 2 * noise, 0, 1).astype(np.float32)[..., None]


def test_copies_are_found_even_when_shifted_and_brightened():
    training, held_out, generated = textured(30, 1), textured(20, 2), textured(20, 3)
    generated[4] = np.roll(training[11], (1, -1), axis=(0, 1))
    generated[9] = np.clip(training[7] * 1.3, 0, 1)
    search = memorisation.TrainingSearch(training)
    near, far = search(generated), search(held_out)
    limits = memorisation.limits_of(far)
    assert memorisation.copies(near, limits) == [[4, 11], [9, 7]]
    people = [f"p{i // 2}" for i in range(20)]
    found = memorisation.compare_to_held_out(near, far, people, replicates=50)
    assert (found["copies"]["value"], found["copies"]["of"]) == (2, 20)
    assert found["copy_share"]["low"] == pytest.approx(0.0279, abs=1e-3)  # Wilson, 2 of 20
    assert found["copy_share"]["high"] == pytest.approx(0.3010, abs=1e-3)
    clean = memorisation.compare_to_held_out(search(textured(20, 4)), far, people, replicates=50)
    assert clean["copies"]["value"] == 0
    assert 0.25 < clean["auc"]["value"] < 0.75
    assert clean["auc"]["low"] < 0.5 < clean["auc"]["high"]
    assert found["held_out_ratio"]["low"] < found["held_out_ratio"]["value"] <= 1


def test_nearest_neighbours_equal_a_plain_search():
    rng = RNG(5)
    x, y = rng.normal(size=(17, 6)), rng.normal(size=(23, 6))
    plain = np.sqrt(((x[:, None] - y[None]) ** 2).mean(-1))
    found = memorisation.nearest_features(x, y)
    np.testing.assert_array_equal(found.row, plain.argmin(1))
    np.testing.assert_allclose(found.distance, plain.min(1), atol=1e-9)
    np.testing.assert_allclose(found.second, np.sort(plain, 1)[:, 1], atol=1e-9)
