"""Sets of images: their schema, shapes and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from discs import draw

from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet, require_same_shape


def test_conditions_without_a_contract_tell_their_schema():
    images = np.stack([draw(50, np.random.default_rng(0))] * 3)
    schema = ImageSet(images, [{"a": 1, "b": "x"}, {"a": 3.0}, {"c": None}], list("pqr")).schema()
    assert schema == Schema((Continuous("a", "", 1, 3), Categorical("b", ("x",))))


def test_grey_images_get_their_channel_and_other_shapes_are_named():
    grey = ImageSet(np.zeros((2, 5, 4), np.uint8), [{}] * 2, list("ab"))
    assert grey.shape == (5, 4, 1)
    assert grey.is_grey_slices
    assert not ImageSet(np.zeros((2, 5, 4, 3)), [{}] * 2, list("ab")).is_grey_slices
    assert ImageSet(np.zeros((2, 5, 4, 3, 1)), [{}] * 2, list("ab"))[np.array([1])].shape == (5, 4, 3, 1)
    with pytest.raises(InputError, match=r"shape: found \(2, 5\)"):
        ImageSet(np.zeros((2, 5)), [{}] * 2, list("ab"))
    with pytest.raises(InputError, match="2 images, 1 conditions"):
        ImageSet(np.zeros((2, 5, 4)), [{}], list("ab"))
    with pytest.raises(InputError, match=r"image shape: found \(5, 4, 3\)"):
        require_same_shape(grey, ImageSet(np.zeros((2, 5, 4, 3)), [{}] * 2, list("ab")), "sets")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((0, 4, 4)), "an empty set"),
        (np.full((2, 4, 4, 3, 1), np.nan), "NaN or Inf in 2 of 2"),
        (np.full((2, 4, 4, 3), 9.0), "range: found 9"),
    ],
)
def test_images_are_checked_whatever_their_shape(images, words):
    with pytest.raises(InputError, match=words):
        ImageSet(images, [{}] * len(images), ["p"] * len(images)).checked("set")
