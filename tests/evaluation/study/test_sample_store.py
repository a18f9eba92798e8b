"""Chunks of generated images on disk: shared by processes, of any shape, and those that 0.1 wrote."""

from __future__ import annotations

import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.study import sample_store

CONDITIONS = [{"age": float(age)} for age in range(20, 50)]


def sample_of(shape):
    def sample(conditions, scale, seed):
        noise = np.random.default_rng(seed).random((len(conditions), *shape)) / 10
        return noise + np.array([c["age"] / 100 for c in conditions]).reshape(-1, *[1] * len(shape))

    return sample


@pytest.mark.parametrize("shape", [(6, 5, 1), (6, 5, 3), (6, 5, 4, 1)])
def test_two_processes_share_the_chunks(shape, tmp_path):
    sample, calls = sample_of(shape), []
    for process in (1, 0):
        shared = sample_store.Processes(process, 2)
        sample_store.generate(sample, CONDITIONS, 3.0, shape, tmp_path, chunk=8, processes=shared)
    alone = tmp_path / "alone"
    sample_store.generate(
        sample, CONDITIONS, 3.0, shape, alone, chunk=8, progress=lambda stage, done, total: calls.append((done, total))
    )
    images = sample_store.read(tmp_path, 3.0)
    assert images.shape == (30, *shape)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, sample_store.read(alone, 3.0))
    assert calls == [(8, 30), (16, 30), (24, 30), (30, 30)]


def test_chunks_of_the_first_release_have_no_axis_of_channels_and_are_continued(tmp_path):
    sample = sample_of((6, 5, 1))
    sample_store.generate(sample, CONDITIONS, 1.0, (6, 5, 1), tmp_path / "new", chunk=16)
    whole = sample_store.read(tmp_path / "new", 1.0)
    old = tmp_path / "old" / "samples" / sample_store.scale_name(1.0)
    old.mkdir(parents=True)
    np.save(old / "00000.npy", whole[:16, ..., 0])
    sample_store.generate(sample, CONDITIONS, 1.0, (6, 5, 1), tmp_path / "old", chunk=16)
    np.testing.assert_array_equal(sample_store.read(tmp_path / "old", 1.0), whole)


def test_images_of_another_shape_or_range_are_refused(tmp_path):
    for shape, words in (((6, 4, 1), r"shape: found \(2, 6, 4, 1\); expected \(2, 6, 5, 1\)"), ((6, 5, 3), "shape")):
        with pytest.raises(InputError, match=words):
            sample_store.to_stored(np.zeros((2, *shape)), (2, 6, 5, 1), "chunk")
    with pytest.raises(InputError, match="range: found 0 to 2"):
        sample_store.to_stored(np.array([0.0, 2.0]).reshape(2, 1, 1, 1), (2, 1, 1, 1), "chunk")
    with pytest.raises(InputError, match="a finished sampling stage"):
        sample_store.read(tmp_path, 9.0)
