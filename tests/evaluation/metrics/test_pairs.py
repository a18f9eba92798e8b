"""Random pairs of different people, their means and intervals."""

from __future__ import annotations

import jax
import numpy as np
import oasis_volumes
import pytest
from similar_images import blobs

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import pairs

KEY = jax.random.key(0)


@pytest.mark.parametrize("count", [5, 20, 300])
def test_pairs_differ_and_are_of_different_people(count):
    people = [f"p{i // 2}" for i in range(40)]
    found = pairs.draw_pairs(KEY, people, count)
    assert len(np.unique(found, axis=0)) == len(found) == count
    assert (found[:, 0] < found[:, 1]).all()
    assert (found[:, 0] // 2 != found[:, 1] // 2).all()
    np.testing.assert_array_equal(found, pairs.draw_pairs(KEY, people, count))
    assert not np.array_equal(found, pairs.draw_pairs(jax.random.key(1), people, count))


def test_every_pair_is_as_likely_as_another():
    counts = np.zeros((12, 12), int)
    for seed in range(400):
        for i, j in pairs.draw_pairs(jax.random.key(seed), [str(i) for i in range(12)], 6):
            counts[i, j] += 1
    seen = counts[np.triu_indices(12, 1)]
    assert seen.sum() == 2400
    assert ((seen - 2400 / 66) ** 2 / (2400 / 66)).sum() < 110  # chi squared, 65 degrees of freedom: p 0.0005


def test_all_pairs_where_there_are_no_more():
    found = pairs.draw_pairs(KEY, ["a", "a", "b", "c"], 1000)
    assert found.tolist() == [[0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    with pytest.raises(InputError, match="at least 2 people"):
        pairs.draw_pairs(KEY, ["a", "a"])
    with pytest.raises(InputError, match="found 0 pairs"):
        pairs.draw_pairs(KEY, ["a", "b"], 0)


def test_a_resampled_pair_counts_as_often_as_both_of_its_people():
    people = [str(i) for i in range(30)]
    drawn = pairs.draw_pairs(KEY, people, 435)
    values = np.random.default_rng(0).normal(size=30)[drawn].sum(1)
    found = pairs.mean_over_pairs(values, drawn, people, replicates=400)
    assert found.value == pytest.approx(values.mean())
    # The mean of sums of two independent people's values is twice a mean of 30: its spread is not that of 435 values.
    spread = 2 * np.random.default_rng(0).normal(size=30).std() / np.sqrt(30)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(spread, rel=0.15)


def test_numbers_of_a_set_have_names_and_intervals():
    images = np.round(blobs((8, 16, 15, 14, 1), 0) * 255).astype(np.uint8)
    people = [f"p{i // 2}" for i in range(8)]
    found = pairs.similarity_of_pairs(images, people, KEY, count=10, replicates=30)
    assert list(found) == ["SSIM7 of pairs", "MS-SSIM7[2] of pairs", "4-G-R-SSIM of pairs"]
    drawn = pairs.draw_pairs(KEY, people, 10)
    for number, values in zip(found.values(), pairs.score_pairs(images, drawn), strict=True):
        assert number["value"] == pytest.approx(values.mean(), abs=1e-6)
        assert number["low"] < number["value"] < number["high"]


@pytest.mark.realdata
def test_real_people_are_as_alike_as_was_measured(real_data):
    """0.608, 0.782, 0.428 were found with 12 pairs of other held-out people, so the tolerance is the error of a
    difference: pairs spread by 0.04, 0.05 and 0.045, thus sqrt(2 / 12) of that, three times.
    """
    folder = real_data("oasis1_mni2mm")
    images = oasis_volumes.volumes(folder, oasis_volumes.people(folder)[:24])
    twelve = np.arange(24).reshape(12, 2)
    single, multi, regions = pairs.score_pairs(images, twelve)
    assert str(pairs.metrics_of_pairs(images.shape[1:-1])[1]) == "MS-SSIM7[4] of pairs"
    assert single.mean() == pytest.approx(0.608, abs=0.045)
    assert multi.mean() == pytest.approx(0.782, abs=0.06)
    assert regions.mean() == pytest.approx(0.428, abs=0.055)
