"""The gate on a set of images, with the measures before and after it; and its power on corrupted real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax import files
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.table import write_table
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.gate import gate_power
from brain_diffusion_jax.evaluation.gate.gate import FAULTS, Gate, Verdicts
from brain_diffusion_jax.evaluation.labelled import Classifier, Labelled, Real, measure_sets
from brain_diffusion_jax.evaluation.metrics import class_measures


@dataclass(frozen=True)
class Outcome:
    """summary: what gate.json holds. words: the class that was requested of each image."""

    summary: dict[str, Any]
    images: Float[np.ndarray, "n rows cols c"]
    words: Sequence[str]
    verdicts: Verdicts


def apply(
    classifier: Classifier,
    real: Real,
    images: Float[np.ndarray, "n rows cols c"],
    words: Sequence[str],
    source: str | Path,
    *,
    rate: float = 0.05,
    batch_size: int = 100,
    seed: int = 0,
) -> Outcome:
    """The verdict on every image. rate: false alarms allowed on real images; source: for messages."""
    if unknown := sorted(set(words) - set(classifier.words)):
        raise InputError(source, f"class {real.covariate}", ", ".join(map(repr, unknown)), f"one of {classifier.words}")
    made = Labelled(images, np.array([classifier.words.index(word) for word in words]))
    test, validation = real.splits["test"], real.splits["validation"]
    count = len(made.labels)
    control = Gate(
        classifier,
        real.splits["train"],
        validation,
        false_alarm_rate=rate,
        batch_size=min(batch_size, count),
        seed=seed,
    )
    verdicts = control.verdicts(made)
    passed = made.take(np.flatnonzero(verdicts.accepted))
    sets = {"before the gate": made, "after the gate": passed, "real against real": validation}
    rows = measure_sets(classifier, test, {name: item for name, item in sets.items() if len(item.labels)})
    summary = {
        "source": str(source),
        "classifier": classifier.name,
        "pictures": count,
        "accepted": len(passed.labels),
        "reasons": {name: sum(name in reasons for reasons in verdicts.reasons) for name in FAULTS},
        "false_alarms_on_test": float((~control.verdicts(test).accepted).mean()),
        "batch": control.batch_verdict(made, seed)._asdict() if count >= control.batch_size else None,
        "gate": control.to_json(),
        "measures": {name: rows.get(name) for name in sets},
    }
    return Outcome(summary, images, words, verdicts)


def describe(summary: dict[str, Any], rate: float) -> str:
    """The summary of `apply` in words."""
    lines = [f"{summary['accepted']} of {summary['pictures']} images accepted; rejected because:"]
    lines += [f"  {count:>6}  {FAULTS[reason]}" for reason, count in summary["reasons"].items() if count]
    alarms = 100 * summary["false_alarms_on_test"]
    lines.append(f"real held-out images rejected: {alarms:.1f} % (stated: {100 * rate:g} %)")
    lines.append(class_measures.table({k: v for k, v in summary["measures"].items() if v is not None}))
    return "\n".join(lines)


def self_test(
    classifier: Classifier,
    real: Real,
    *,
    rate: float = 0.05,
    partitions: int = 10,
    seed: int = 0,
    progress: gate_power.Tell | None = None,
) -> dict[str, Any]:
    """The fraction that is rejected of each kind of corrupted real images; see `gate_power.power`."""
    train = real.splits["train"]
    held = Labelled(*map(np.concatenate, zip(real.splits["validation"], real.splits["test"], strict=True)))
    control = Gate(classifier, train, held, draws=2, false_alarm_rate=rate, seed=seed)
    kinds = gate_power.power(control, train, held, partitions=partitions, seed=seed, progress=progress)
    return {"classifier": classifier.name, "false_alarm_rate": rate, "partitions": partitions, "self_test": kinds}


def write(out: Path, outcome: Outcome) -> None:
    """All files, or none of them."""
    verdicts, lines = outcome.verdicts, []
    for i, (word, good, reasons) in enumerate(zip(outcome.words, verdicts.accepted, verdicts.reasons, strict=True)):
        scores = [f"{verdicts.scores[name][i]:.4f}" for name in FAULTS]
        faults = "; ".join(FAULTS[name] for name in reasons)
        lines.append([i, word, "accept" if good else "reject", faults, *scores])
    with files.replacing_folder(out) as part:
        files.write_json(part / "gate.json", outcome.summary)
        write_table(part / "verdicts.csv", ["index", "asked", "verdict", "reasons", *FAULTS], lines)
        for name, chosen in (("accepted", verdicts.accepted), ("rejected", ~verdicts.accepted)):
            rows = np.flatnonzero(chosen)
            if len(rows):
                worst_first = rows[np.argsort(-verdicts.margin[rows])][:256]
                picture_grid.save_png(part / f"{name}.png", picture_grid.tile(outcome.images[worst_first]))
