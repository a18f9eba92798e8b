"""Linear probes on block means: what they read in real people, and how they choose their penalty."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.evaluation.metrics.agreement import agreement, categorical_accuracy
from brain_diffusion_jax.evaluation.probes import pixel_probe


@pytest.mark.realdata
def test_the_pixel_probe_reads_real_ages_and_hardly_any_sex(real_slices):
    images, ages, male = real_slices
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:160], order[160:]
    people = train.astype(str)
    found = agreement(ages[test], pixel_probe.numeric_probe(images[train], ages[train], people)(images[test]))
    assert found.r > 0.7
    reader = pixel_probe.categorical_probe(images[train], male[train], people)
    accuracy, majority = categorical_accuracy(male[test], reader(images[test]))
    assert 0.5 <= majority <= 0.7
    assert accuracy < 0.85


def test_the_probe_chooses_its_penalty_over_people():
    """Twenty near-copies of each person: a probe that splits pictures would overfit and call it skill."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(60), 10)
    noise = rng.normal(size=(60, 30))[people] + 0.01 * rng.normal(size=(600, 30))
    target = rng.normal(size=60)[people][:, None]
    fresh = rng.normal(size=(200, 30))
    by_people = pixel_probe.ridge_probe(noise, target, people=people)(fresh)
    by_picture = pixel_probe.ridge_probe(noise, target)(fresh)
    assert by_people.std() < 0.5 * by_picture.std()


def test_block_means_keep_the_mean_and_the_scale():
    images = np.random.default_rng(1).integers(0, 256, (3, 48, 72)).astype(np.uint8)
    means = pixel_probe.block_means(images)
    assert means.shape == (3, 24 * 24)
    np.testing.assert_allclose(means.mean(1), images.mean((1, 2)) / 255, rtol=1e-5)
    np.testing.assert_allclose(pixel_probe.block_means(images / np.float32(255)), means, atol=1e-6)


def test_block_means_of_colours_and_volumes():
    colours = np.random.default_rng(2).integers(0, 256, (2, 48, 72, 3)).astype(np.uint8)
    means = pixel_probe.block_means(colours).reshape(2, 24, 24, 3)
    grey = pixel_probe.block_means(colours[..., 1]).reshape(2, 24, 24)
    np.testing.assert_allclose(means[..., 1], grey, rtol=1e-6)
    volumes = np.random.default_rng(3).random((2, 16, 24, 8, 1)).astype(np.float32)
    plain = volumes.reshape(2, 8, 2, 8, 3, 8, 1).mean((2, 4, 6))
    np.testing.assert_allclose(pixel_probe.block_means(volumes).reshape(plain.shape), plain, rtol=1e-5)
