"""How good a classifier is on images it never saw: what a training adds to its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from brain_diffusion_jax.data.shards.reader import load_manifest, read_all
from brain_diffusion_jax.evaluation.metrics import class_measures
from brain_diffusion_jax.files import write_json
from brain_diffusion_jax.pixels import to_unit
from brain_diffusion_jax.tasks.classifier.model import ClassModel
from brain_diffusion_jax.tasks.opening import open_run


def write(run: Path, shards: str) -> dict[str, Any]:
    """Accuracy and confusion of the best checkpoint on validation and test images: class_report.json in the run."""
    model = cast(ClassModel, open_run(run))
    result: dict[str, Any] = {"classifier": model.name, "classes": list(model.words)}
    for split in ("validation", "test"):
        if split not in load_manifest(shards)["splits"]:
            continue
        items = read_all(shards, split)
        known = items["present"][:, model.column]
        labels = items["values"][known, model.column].astype(int)
        probabilities = model.probabilities(to_unit(items["image"][known]))
        table = class_measures.confusion(labels, probabilities)
        result[split] = {
            "pictures": len(labels),
            "accuracy": float((probabilities.argmax(1) == labels).mean()),
            "confusion": table.tolist(),
        }
    write_json(run / "class_report.json", result)
    return result


def summary(result: dict[str, Any], run: Path) -> str:
    """The report as text."""
    lines = [
        f"{name}: accuracy {result[name]['accuracy']:.3f} of {result[name]['pictures']} images"
        for name in ("validation", "test")
        if name in result
    ]
    return "\n".join([*lines, f"{run}: class_report.json"])
