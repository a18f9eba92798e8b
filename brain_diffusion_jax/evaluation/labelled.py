"""Images whose class is known or requested, the classifier that reads them, and its measures of several sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data.shards.loader import read_all
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics import class_measures
from brain_diffusion_jax.evaluation.metrics.frechet import check_features
from brain_diffusion_jax.pixels import to_unit

SPLITS = ("train", "validation", "test")


class Labelled(NamedTuple):
    """images: unit [n, rows, cols, channels]; labels: index of the true or requested class [n], -1 for none."""

    images: Float[np.ndarray, "n rows cols c"]
    labels: Int[np.ndarray, " n"]

    def take(self, rows: np.ndarray) -> Labelled:
        """Some of the images: indices, or a mask."""
        return Labelled(self.images[rows], self.labels[rows])


class Classifier(Protocol):
    """What gate and class table need of a classifier. column: of its covariate in the schema; words: its classes."""

    column: int
    words: tuple[str, ...]
    covariate: str
    image_size: tuple[int, ...]

    @property
    def name(self) -> str:
        """For tables: which predictor the numbers come from."""
        ...

    def features(self, images: Any) -> np.ndarray:
        """Pooled features [n, d] of unit images [n, rows, cols, c]."""
        ...

    def probabilities(self, images: Any) -> np.ndarray:
        """[n, classes] of unit images [n, rows, cols, c]."""
        ...


def answers(
    classifier: Classifier, images: Float[np.ndarray, "n rows cols c"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n k"]]:
    """(features, class probabilities) of images, float64; refuses NaN and what is no distribution."""
    return check_features(classifier.features(images)), class_measures.check_probabilities(
        classifier.probabilities(images)
    )


def measure_sets(
    classifier: Classifier,
    real: Labelled,
    sets: Mapping[str, Labelled],
    *,
    replicates: int = 0,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Rows of a table: `class_measures.measure` of each set beside the real one. progress: (stage, sets done, all)."""
    real_features = check_features(classifier.features(real.images))
    rows: dict[str, dict[str, Any]] = {}
    for name, (images, labels) in sets.items():
        if progress is not None:
            progress("measures", len(rows), len(sets))
        features, probabilities = answers(classifier, images)
        rows[name] = class_measures.measure(
            features,
            probabilities,
            labels,
            real_features,
            real.labels,
            classifier.words,
            replicates=replicates,
            seed=seed,
        )
    if progress is not None:
        progress("measures", len(rows), len(sets))
    return rows


@dataclass(frozen=True)
class Real:
    """Real images by split, whose class is known, and the name of the covariate that says it."""

    splits: dict[str, Labelled]
    covariate: str

    @classmethod
    def read(cls, shards: Path, classifier: Classifier) -> Real:
        """Those of the shards, without images whose class is unknown; refuses images of another size."""
        contract = Contract.load(shards)
        if tuple(contract.image_size) != classifier.image_size:
            expected = f"{classifier.image_size}, as the classifier"
            raise InputError(shards, "image_size", contract.image_size, expected)
        splits = {}
        for split in SPLITS:
            items = read_all(shards, split)
            known = items["present"][:, classifier.column]
            labels = items["values"][known, classifier.column].astype(int)
            splits[split] = Labelled(to_unit(items["image"][known]), labels)
        names = contract.schema.names
        return cls(splits, names[classifier.column] if classifier.column < len(names) else "")
