"""Sets of classes in one table: equal numbers, what the gate leaves, folders that do not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from spots import CLASSES, SIZE, blur, make

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Categorical, Schema
from brain_diffusion_jax.data.sample_folder import SampleFolder
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.labelled import Labelled, Real
from brain_diffusion_jax.evaluation.probes.pixel_probe import block_means, ridge_probe
from brain_diffusion_jax.evaluation.study import class_table

WORDS = ("a", "b", "c")


class Linear:
    """A linear classifier on block means of training images."""

    name, column, words, covariate, image_size = "linear", 0, WORDS, "kind", (SIZE, SIZE)

    def __init__(self, train: Labelled) -> None:
        self.probe = ridge_probe(block_means(train.images), np.eye(CLASSES)[train.labels])

    def features(self, images: np.ndarray) -> np.ndarray:
        return block_means(images)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        odds = np.exp(14.0 * self.probe(block_means(images)))
        return odds / odds.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def real() -> Real:
    return Real({"train": make(150, 0), "validation": make(245, 1), "test": make(60, 2)}, "kind")


@pytest.fixture(scope="module")
def classifier(real) -> Linear:
    return Linear(real.splits["train"])


def test_sets_stand_beside_the_real_floor_and_what_the_gate_leaves(classifier, real, tmp_path):
    half = make(40, 5)
    blurred = blur(half.take(np.arange(20)))
    mixed = Labelled(np.concatenate([blurred.images, half.images[20:]]), half.labels)
    unlabelled = Labelled(half.images, np.full(40, -1))
    sets = {"mixed": mixed, "unlabelled": unlabelled}
    found = class_table.measure(classifier, real, sets, "shards", gate_rate=0.05, replicates=0)
    rows = found["rows"]
    assert list(rows) == [class_table.FLOOR, "mixed", "unlabelled", "mixed, gated", "mixed, as many ungated"]
    assert list(found["pass the gate"]) == ["real, test", "mixed"]
    assert found["pass the gate"]["mixed"] <= 0.6 < found["pass the gate"]["real, test"]
    assert rows["mixed, gated"]["pictures"] == rows["mixed, as many ungated"]["pictures"] <= 24
    assert rows["unlabelled"]["fidelity"] is None
    assert rows["unlabelled"]["confusion"] is None
    text = class_table.text(found, WORDS, list(sets), 60, "blocks")
    for words in ("Read by linear, against 60 held-out", "FD[blocks]", "mixed: ", "| requested | seen as a |"):
        assert words in text
    class_table.write(tmp_path, found, text, sets)
    assert json.loads((tmp_path / "classes.json").read_text())["rows"]["mixed"] == rows["mixed"]
    assert Image.open(tmp_path / "mixed.png").size[0] > SIZE


def test_a_folder_gives_its_requested_classes_and_refuses_what_does_not_fit(classifier, tmp_path):
    contract = Contract(Schema((Categorical("kind", (*WORDS, "d")),)), (SIZE, SIZE), kind="pictures")
    images = make(3, 4).images

    def folder(name: str, conditions: list[dict], given: Contract = contract, images: np.ndarray = images):
        made = SampleFolder(tmp_path / name, {"by": "test"}, given)
        made.write(0, images, conditions, seed=0, guidance_scale=1.0, columns=("kind",), nifti=False)
        return class_table.read_folder(tmp_path / name, classifier, contract, "shards")

    found = folder("good", [{"kind": "b"}, {}, {"kind": "a"}])
    np.testing.assert_array_equal(found.labels, [1, -1, 0])
    np.testing.assert_allclose(found.images, images, atol=0.51 / 255)
    with pytest.raises(InputError, match="kind: found d"):
        folder("unknown", [{"kind": "d"}] * 3)
    small = Contract(contract.schema, (8, 8), kind="pictures")
    with pytest.raises(InputError, match="image_size"):
        folder("small", [{"kind": "a"}] * 3, small, images[:, :8, :8])
