"""Train the classifier that judges whether pictures show the class asked for; it sees real pictures only.

  brain-diffusion train-class configs/tumor.py data.shards=shards/tumor --run runs/tumor-class

Settings are those of config section class_model. When it ends: class_report.json with accuracy and
confusion on validation and test pictures, from the checkpoint with the lowest validation loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli import training_data
from brain_diffusion_jax.pixels import to_unit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    training_data.add_arguments(parser, "-class", report=True)


def run(arguments: argparse.Namespace) -> int:
    import json

    config = training_data.load(arguments, "class")
    folder = arguments.run or Path("runs") / f"{config.name}-class"
    outcome = train(config, folder, show_progress=not (arguments.quiet or arguments.json))
    if outcome.exit_code:
        print(f"{outcome.run}: step {outcome.step}, {outcome.reason}")
        return outcome.exit_code
    report = evaluate(folder, config.data.shards)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return 0
    for name in ("validation", "test"):
        if name in report:
            print(f"{name}: accuracy {report[name]['accuracy']:.3f} of {report[name]['pictures']} pictures")
    print(f"{folder}: class_report.json")
    return 0


def train(config: Any, folder: Path, *, show_progress: bool = True) -> Any:
    """Train the classifier of a whole config on its shards; returns training.fit.Outcome."""
    from dataclasses import replace

    import jax.numpy as jnp
    import numpy as np

    from brain_diffusion_jax.config import to_json
    from brain_diffusion_jax.data.shards.loader import read_all
    from brain_diffusion_jax.data.shards.reader import load_manifest
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.training import class_step, fit
    from brain_diffusion_jax.training.augmentation import Augmentation
    from brain_diffusion_jax.training.optimizer import OptimizerSettings
    from brain_diffusion_jax.training.settings import TrainSettings

    training_data.prepare_host(config, "class_model")
    contract, section = training_data.shards_contract(config), config.class_model
    target = class_step.find_target(contract.schema, section.target)
    plain = factory.class_network(section, len(target.words))
    augmentation = Augmentation(**section.augmentation)
    task = fit.Task(
        kind="class",
        init=lambda key: dict(plain.init(key, jnp.zeros((1, *contract.image_size, 1), jnp.float32))),
        make_loss=lambda axis_name: class_step.make_loss(
            factory.class_network(section, len(target.words), axis_name),
            target,
            label_smoothing=section.label_smoothing,
            augmentation=augmentation if any(vars(augmentation).values()) else None,
        ),
        measure=class_step.make_measure(plain, target),
    )
    validation = None
    if "validation" in load_manifest(config.data.shards)["splits"]:
        items = read_all(config.data.shards, "validation")
        rows = np.flatnonzero(items["present"][:, target.column])[:2000]
        validation = {name: items[name][rows] for name in ("image", "values", "present")}
    settings = replace(
        TrainSettings(**config.train),
        num_steps=section.num_steps,
        ema_decay=section.ema_decay,
        validate_every=section.validate_every,
        checkpoint_every=section.validate_every,
        early_stopping=0,
        sample_every=0,
        keep_last=1,
        keep_best=1,
    )
    return fit.fit(
        task,
        folder,
        training_data.make_loader(config, "class_model", class_balance=contract.schema.names[target.column]),
        validation,
        settings,
        OptimizerSettings(
            learning_rate=section.learning_rate,
            weight_decay=section.weight_decay,
            warmup_steps=min(100, section.num_steps // 10),
        ),
        batch_size=section.batch_size,
        config=to_json(config),
        contract=contract,
        seed=config.seed,
        show_progress=show_progress,
    )


def load_classifier(folder: str | Path) -> Any:
    """The api.ClassModel of a train-class run at its best checkpoint."""
    from brain_diffusion_jax import api

    return api.load(folder, "class")


def evaluate(folder: Path, shards: str) -> dict[str, Any]:
    """Accuracy and confusion of the best checkpoint on validation and test pictures, written into the run."""
    from brain_diffusion_jax.data.shards.loader import read_all
    from brain_diffusion_jax.data.shards.reader import load_manifest
    from brain_diffusion_jax.evaluation.metrics import class_measures
    from brain_diffusion_jax.training.run_folder import checkpoints

    judge = load_classifier(folder)
    report: dict[str, Any] = {"classifier": judge.name, "classes": list(judge.words)}
    for split in ("validation", "test"):
        if split not in load_manifest(shards)["splits"]:
            continue
        items = read_all(shards, split)
        known = items["present"][:, judge.column]
        labels = items["values"][known, judge.column].astype(int)
        found = judge.probabilities(to_unit(items["image"][known]))
        table = class_measures.confusion(labels, found)
        report[split] = {
            "pictures": len(labels),
            "accuracy": float((found.argmax(1) == labels).mean()),
            "confusion": table.tolist(),
        }
    checkpoints.write_json(folder / "class_report.json", report)
    return report
