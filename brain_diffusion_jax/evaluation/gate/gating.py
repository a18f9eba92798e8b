"""The gate on a set of pictures, with the measures before and after it; and what it finds of corrupted real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.shards.loader import read_all
from brain_diffusion_jax.data.table import write_table
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.gate import gate, gate_power
from brain_diffusion_jax.evaluation.metrics import class_measures
from brain_diffusion_jax.pixels import to_unit

SPLITS = ("train", "validation", "test")


class Classifier(Protocol):
    """What the gate asks of a classifier. column: of its covariate in the schema; words: its classes."""

    column: int
    words: tuple[str, ...]
    covariate: str
    image_size: tuple[int, ...]

    @property
    def name(self) -> str:
        """For tables: what judged."""
        ...

    def features(self, images: Any) -> np.ndarray:
        """Pooled features [n, d] of unit images [n, rows, cols, 1]."""
        ...

    def probabilities(self, images: Any) -> np.ndarray:
        """[n, classes] of unit images [n, rows, cols, 1]."""
        ...


class ClassReader:
    """Measures of sets of pictures beside real ones by a classifier, at equal N: `class_measures.measure`."""

    def __init__(self, classifier: Classifier, real: gate.Pictures, replicates: int = 0, seed: int = 0) -> None:
        self.classifier, self.options = classifier, {"replicates": replicates, "seed": seed}
        self.real_features, self.real_labels = classifier.features(real.images), real.labels

    def __call__(self, pictures: gate.Pictures) -> dict[str, Any]:
        """One row of a table."""
        features = self.classifier.features(pictures.images)
        probabilities = self.classifier.probabilities(pictures.images)
        return class_measures.measure(
            features,
            probabilities,
            pictures.labels,
            self.real_features,
            self.real_labels,
            self.classifier.words,
            **self.options,
        )


@dataclass(frozen=True)
class Judged:
    """words: the class that each picture was asked for."""

    pictures: gate.Pictures
    words: Sequence[str]
    verdicts: Any


@dataclass(frozen=True)
class Real:
    """Real pictures by split, whose class is known, and the name of the covariate that says it."""

    splits: dict[str, gate.Pictures]
    covariate: str

    @classmethod
    def read(cls, shards: Path, classifier: Classifier) -> Real:
        """Those of the shards; refuses shards of pictures of another size."""
        contract = Contract.load(shards)
        if tuple(contract.image_size) != classifier.image_size:
            expected = f"{classifier.image_size}, as the classifier"
            raise InputError(shards, "image_size", contract.image_size, expected)
        names = contract.schema.names
        covariate = names[classifier.column] if classifier.column < len(names) else ""
        return cls({split: real_pictures(shards, split, classifier) for split in SPLITS}, covariate)


def real_pictures(shards: Path, split: str, classifier: Classifier) -> gate.Pictures:
    """Pictures of a split, without those whose class is unknown."""
    items = read_all(shards, split)
    known = items["present"][:, classifier.column]
    return gate.Pictures(to_unit(items["image"][known]), items["values"][known, classifier.column].astype(int))


def judge(
    classifier: Classifier,
    real: Real,
    images: Float[np.ndarray, "n rows cols 1"],
    words: Sequence[str],
    source: str | Path,
    *,
    rate: float = 0.05,
    batch_size: int = 100,
    seed: int = 0,
) -> tuple[dict[str, Any], Judged]:
    """What gate.json holds, and the verdict on every picture. rate: false alarms allowed on real pictures."""
    unknown = sorted(set(words) - set(classifier.words))
    if unknown:
        found = ", ".join(map(repr, unknown))
        raise InputError(source, f"class {real.covariate}", found, f"one of {classifier.words}")
    labels = np.array([classifier.words.index(word) for word in words])
    made, test = gate.Pictures(images, labels), real.splits["test"]
    control = gate.Gate(
        classifier.features,
        classifier.probabilities,
        real.splits["train"],
        real.splits["validation"],
        false_alarm_rate=rate,
        batch_size=min(batch_size, len(labels)),
        seed=seed,
    )
    verdicts = control.judge(made)
    read, passed = ClassReader(classifier, test), np.flatnonzero(verdicts.accepted)
    rows = {
        "before the gate": read(made),
        "after the gate": read(gate.Pictures(images[passed], labels[passed])) if len(passed) else None,
        "real against real": read(real.splits["validation"]),
    }
    summary: dict[str, Any] = {
        "source": str(source),
        "classifier": classifier.name,
        "pictures": len(labels),
        "accepted": len(passed),
        "reasons": {n: sum(n in r for r in verdicts.reasons) for n in gate.SAYS},
        "false_alarms_on_test": float((~control.judge(test).accepted).mean()),
        "batch": control.judge_batch(made, seed)._asdict() if len(labels) >= control.batch_size else None,
        "gate": control.to_json(),
        "measures": rows,
    }
    return summary, Judged(made, words, verdicts)


def describe(summary: dict[str, Any], rate: float) -> str:
    """The summary of `judge` in words."""
    lines = [f"{summary['accepted']} of {summary['pictures']} pictures accepted; rejected because:"]
    lines += [f"  {count:>6}  {gate.SAYS[reason]}" for reason, count in summary["reasons"].items() if count]
    found = 100 * summary["false_alarms_on_test"]
    lines.append(f"real held-out pictures rejected: {found:.1f} % (stated: {100 * rate:g} %)")
    lines.append(class_measures.table({k: v for k, v in summary["measures"].items() if v is not None}))
    return "\n".join(lines)


def self_test(
    classifier: Classifier, real: Real, *, rate: float = 0.05, partitions: int = 10, seed: int = 0
) -> dict[str, Any]:
    """The share that is rejected of each kind of corrupted real pictures; see `gate_power.power`."""
    pairs = zip(real.splits["validation"], real.splits["test"], strict=True)
    held = gate.Pictures(*(np.concatenate([a, b]) for a, b in pairs))
    options: dict[str, Any] = {"false_alarm_rate": rate, "seed": seed}
    control = gate.Gate(classifier.features, classifier.probabilities, real.splits["train"], held, draws=2, **options)
    found = gate_power.power(control, real.splits["train"], held, partitions=partitions, seed=seed)
    return {"classifier": classifier.name, "false_alarm_rate": rate, "partitions": partitions, "self_test": found}


def write(out: Path, summary: dict[str, Any], judged: Judged) -> None:
    """All files, or none of them."""
    verdicts, lines = judged.verdicts, []
    for i, (word, good, reasons) in enumerate(zip(judged.words, verdicts.accepted, verdicts.reasons, strict=True)):
        scores = [f"{verdicts.scores[n][i]:.4f}" for n in gate.SAYS]
        lines.append([i, word, "accept" if good else "reject", gate.describe(reasons), *scores])
    with files.replacing_folder(out) as part:
        files.write_json(part / "gate.json", summary)
        write_table(part / "verdicts.csv", ["index", "asked", "verdict", "reasons", *gate.SAYS], lines)
        for name, rows in (
            ("accepted", np.flatnonzero(verdicts.accepted)),
            ("rejected", np.flatnonzero(~verdicts.accepted)),
        ):
            if len(rows):
                worst_first = rows[np.argsort(-verdicts.margin[rows])][:256]
                picture_grid.save_png(part / f"{name}.png", picture_grid.tile(judged.pictures.images[worst_first]))
