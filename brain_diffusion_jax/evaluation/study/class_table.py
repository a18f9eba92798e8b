"""Sets of images of classes side by side, read by a classifier that saw real images only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_diffusion_jax import files
from brain_diffusion_jax.contract import FILE_NAME, Contract, require_same
from brain_diffusion_jax.data import picture_grid
from brain_diffusion_jax.data.sample_folder import MANIFEST, read_pictures
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.gate.gate import Gate
from brain_diffusion_jax.evaluation.labelled import Classifier, Labelled, Real, measure_sets
from brain_diffusion_jax.evaluation.metrics import class_measures

FLOOR = "real, validation"
_EACH = 12  # images of a class on a contact sheet


def measure(
    classifier: Classifier,
    real: Real,
    sets: Mapping[str, Labelled],
    data: str | Path,
    *,
    gate_rate: float | None = None,
    replicates: int = 200,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """What classes.json holds: rows of real against real, every set, and with `gate_rate` what the gate leaves of it.

    gate_rate: of false alarms; "pass the gate" is the fraction of each set, {} without a gate. Frechet distances are
    on the classifier's pooled features. Rows "..., as many ungated" hold random images of the set in the numbers that
    passed the gate, because a distance depends on how many images it is from. data: the shards of `real`. progress:
    (stage, done, total).
    """
    tell = progress or (lambda stage, done, total: None)
    parts, fractions = gated(classifier, real, sets, gate_rate, seed, tell) if gate_rate else ({}, {})
    every = {FLOOR: real.splits["validation"], **sets, **parts}
    rows = measure_sets(classifier, real.splits["test"], every, replicates=replicates, seed=seed, progress=tell)
    return {"classifier": classifier.name, "data": str(data), "pass the gate": fractions, "rows": rows}


def text(result: Mapping[str, Any], words: Sequence[str], sets: Sequence[str], real_count: int, features: str) -> str:
    """Markdown of `measure`: the table, what passes, and the confusion of real images and of the `sets`."""
    lines = [f"Read by {result['classifier']}, against {real_count} held-out real images.", ""]
    lines += [class_measures.table(result["rows"], features), ""]
    lines += [f"{name}: {100 * passed:.0f} % pass the gate." for name, passed in result["pass the gate"].items()]
    for name in (FLOOR, *sets):
        if counts := result["rows"][name]["confusion"]:
            lines += ["", f"{name}:", "", class_measures.confusion_table(counts, words)]
    return "\n".join(lines)


def gated(
    classifier: Classifier,
    real: Real,
    sets: Mapping[str, Labelled],
    rate: float,
    seed: int,
    tell: Callable[[str, int, int], None],
) -> tuple[dict[str, Labelled], dict[str, float]]:
    """What passes the gate of each set whose classes were requested, beside as many random ones; and the fractions."""
    # draws: for limits of batches, which no image meets.
    control = Gate(
        classifier, real.splits["train"], real.splits["validation"], false_alarm_rate=rate, draws=2, seed=seed
    )
    parts, fractions = {}, {}
    examined = {"real, test": real.splits["test"], **sets}
    for number, (name, item) in enumerate(examined.items()):
        tell("gate", number, len(examined))
        if (item.labels < 0).any():
            continue
        passed = control.verdicts(item).accepted
        fractions[name] = float(passed.mean())
        if name in sets and passed.sum() > 1:
            rng = np.random.default_rng(seed)
            _, same = class_measures.equal_numbers([item.labels[passed], item.labels], len(classifier.words), rng)
            parts[f"{name}, gated"], parts[f"{name}, as many ungated"] = item.take(passed), item.take(same)
    tell("gate", len(examined), len(examined))
    return parts, fractions


def read_folder(path: Path, classifier: Classifier, contract: Contract, data: str | Path) -> Labelled:
    """Images of a folder that `sample` wrote; label -1 where it requested no class."""
    images, manifest = read_pictures(path)
    if (path / FILE_NAME).exists():
        require_same(Contract.load(path), contract, f"{path} against {data}")
    if images.shape[1:-1] != classifier.image_size:
        raise InputError(path, "image size", images.shape[1:-1], classifier.image_size)
    covariate, words = classifier.covariate, classifier.words
    if covariate not in manifest[0]:
        raise InputError(path / MANIFEST, "columns", sorted(manifest[0]), f"a column {covariate!r}")
    requested = [row[covariate] for row in manifest]
    unknown = sorted(set(requested) - {*words, ""})
    if unknown:
        raise InputError(path / MANIFEST, covariate, ", ".join(unknown), f"one of {', '.join(words)}")
    return Labelled(images, np.array([words.index(word) if word else -1 for word in requested]))


def write(out: Path, result: Mapping[str, Any], markdown: str, sets: Mapping[str, Labelled]) -> None:
    """classes.json, classes.md, and a contact sheet of every set: a row a class."""
    files.write_json(out / "classes.json", dict(result))
    files.write_text(out / "classes.md", markdown + "\n")
    for name, (images, labels) in sets.items():
        shown = np.concatenate([np.flatnonzero(labels == number)[:_EACH] for number in np.unique(labels)])
        picture_grid.save_png(out / f"{name}.png", picture_grid.tile(images[shown], _EACH))
