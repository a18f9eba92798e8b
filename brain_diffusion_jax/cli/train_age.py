"""Train the regressor that judges age, or go on with a run that was stopped; then report how good it is.

  brain-diffusion train-age configs/oasis_axial_cpu.py data.shards=shards/oasis --run runs/age
  brain-diffusion train-age CONFIG data.shards=shards/oasis age_model.pretrained=runs/deepbrainnet

Settings are those of config section age_model. Fine-tuning keeps the network of age_model.pretrained.
The published recipe (REFERENCE R1) is configs/age_r1.py. Splits are those of the shards, by person.
When it ends: age_report.json, age_people.csv and age_calibration.png in the run folder, from the
checkpoint with the lowest validation error; the bias correction is fitted on validation people only.
input_profile.npz says what its inputs look like, so that predict-age can refuse what is unlike them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli import training_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    training_data.add_arguments(parser, "-age", report=True)


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax.evaluation.probes import age as age_evaluation

    config = training_data.load(arguments, "age")
    folder = arguments.run or Path("runs") / f"{config.name}-age"
    outcome = train(config, folder, show_progress=not (arguments.quiet or arguments.json))
    if outcome.exit_code:
        print(f"{outcome.run}: step {outcome.step}, {outcome.reason}")
        return outcome.exit_code
    result = evaluate(folder, config.data.shards)
    print(json.dumps(result, indent=2) if arguments.json else _summary(result, folder, age_evaluation.table))
    return 0


def _summary(result: dict[str, Any], folder: Path, table: Any) -> str:
    parts = [f"{name}:\n{table(result[name])}" for name in ("validation", "test") if name in result]
    if not result["input_profile"]:
        parts.append("too few training scans for an input profile: predict-age will not know what is unlike them")
    return "\n\n".join(
        [*parts, f"{folder}: step {result['step']}; age_report.json, age_people.csv, age_calibration.png"]
    )


def train(config: Any, folder: Path, *, show_progress: bool = True) -> Any:
    """Train the age model of a whole config on its shards; returns training.fit.Outcome."""
    import jax

    from brain_diffusion_jax.config import to_json
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.training import age_step, fit

    training_data.prepare_host(config, "age_model")
    contract = training_data.shards_contract(config)
    section = config.age_model
    target = age_step.find_target(contract.schema, section.target)
    ages = _training_ages(config.data.shards, target)
    start = _pretrained(section)
    if start is None:
        _set(section, target_mean=round(float(ages.mean()), 4), target_scale=round(max(float(ages.std()), 1.0), 4))
    _require_consistent(section)
    augmentation = age_step.Augmentation(**section.augmentation)
    how = age_step.AgeLoss(
        loss=section.loss,
        label_sigma=section.label_sigma,
        balance=section.balance,
        frozen=tuple(section.frozen),
        augmentation=augmentation if any(vars(augmentation).values()) else None,
    )
    weights = age_step.age_weights(ages, how.balance, target.low, target.high) if how.balance else None

    def network(axis_name: str | None) -> Any:
        return factory.age_network(section, axis_name)

    plain = network(None)
    init = age_step.make_init(plain, contract.image_size)
    task = fit.Task(
        kind="age",
        init=init if start is None else lambda key: jax.tree.map(jax.numpy.asarray, start),
        make_loss=lambda axis_name: age_step.make_loss(network(axis_name), target, how, weights),
        measure=age_step.make_measure(plain, target),
    )
    return fit.fit(
        task,
        folder,
        training_data.make_loader(config, "age_model"),
        _validation(config.data.shards, target),
        _settings(config),
        _optimizer(section),
        batch_size=section.batch_size,
        config=to_json(config),
        contract=contract,
        seed=config.seed,
        show_progress=show_progress,
    )


def _set(section: Any, **values: Any) -> None:
    with section.unlocked(), section.ignore_type():
        for key, value in values.items():
            section[key] = value


def _training_ages(shards: str, target: Any) -> Any:
    """Ages, in years, of the training slices that have one."""
    import numpy as np

    from brain_diffusion_jax.errors import InputError

    path = Path(shards) / "conditions_train.npz"
    if not path.exists():
        raise InputError(path, "training split", "no such file", "shards with a training split")
    with np.load(path, allow_pickle=False) as items:
        known = items["present"][:, target.column]
        ages = target.years(items["values"])[known]
    if len(ages) < 2 or np.ptp(ages) == 0:
        raise InputError(shards, "age", f"{len(ages)} ages, {len(np.unique(ages))} distinct", "people of several ages")
    return ages


def _pretrained(section: Any) -> Any:
    """Variables of age_model.pretrained, whose network settings enter `section`; None where there is none."""
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.training.run_folder import checkpoints

    if not section.pretrained:
        return None
    items = checkpoints.read_config(section.pretrained)
    if items.get("kind") != "age":
        raise InputError(section.pretrained, "kind", items.get("kind"), "age: a run of train-age or convert keras")
    network = ("backbone", "width", "dense", "pooling", "norm_eps", "backbone_options", "bins", "bin_low", "bin_high")
    kept = {k: items["age_model"][k] for k in (*network, "target_mean", "target_scale") if k in items["age_model"]}
    _set(section, **{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})
    return variables(section.pretrained, "best")


def variables(run: str | Path, step: int | str | None = None) -> dict[str, Any]:
    """{"params", ["batch_stats"]} of an age run, averaged weights where there are any."""
    from brain_diffusion_jax.training.run_folder import checkpoints

    _, params, state = checkpoints.load_weights(run, step)
    return {"params": params, **state}


def _require_consistent(section: Any) -> None:
    from brain_diffusion_jax.errors import InputError

    if (section.loss == "distribution") != bool(section.bins):
        expected = "bins above 0 with loss=distribution and 0 with any other, such as age_model.bins=48"
        raise InputError("config", "age_model.bins", f"{section.bins} with loss {section.loss}", expected)
    if section.frozen and section.weight_decay:
        found = f"{section.weight_decay} with frozen layers {tuple(section.frozen)}"
        raise InputError("config", "age_model.weight_decay", found, "0: decay would move what is frozen")


def _optimizer(section: Any) -> Any:
    from brain_diffusion_jax.training.optimizer import OptimizerSettings

    return OptimizerSettings(
        name=section.optimizer,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        schedule=section.schedule,
        warmup_steps=min(100, section.num_steps // 10),
        clip_norm=section.clip_norm,
        plateau_factor=section.plateau_factor,
        plateau_patience=section.plateau_patience,
    )


def _settings(config: Any) -> Any:
    from dataclasses import replace

    from brain_diffusion_jax.training.settings import TrainSettings

    section = config.age_model
    return replace(
        TrainSettings(**config.train),
        num_steps=section.num_steps,
        ema_decay=section.ema_decay,
        validate_every=section.validate_every,
        checkpoint_every=section.validate_every,
        early_stopping=section.early_stopping,
        sample_every=0,
        keep_last=1,
        keep_best=1,
        accumulation=config.train.accumulation,
    )


def _validation(shards: str, target: Any, most: int = 2000) -> dict[str, Any] | None:
    """Up to `most` evenly spaced slices of the validation people; None where there is no such split."""
    import numpy as np

    from brain_diffusion_jax.data.shards.loader import read_all
    from brain_diffusion_jax.data.shards.reader import load_manifest

    if "validation" not in load_manifest(shards)["splits"]:
        return None
    items = read_all(shards, "validation")
    rows = np.flatnonzero(items["present"][:, target.column])
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    return {name: items[name][rows] for name in ("image", "values", "present")}


def evaluate(folder: Path, shards: str, replicates: int = 1000) -> dict[str, Any]:
    """Report of the best checkpoint on validation and test people; written into the run folder."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.data.table import write_table
    from brain_diffusion_jax.evaluation.probes import age as age_evaluation
    from brain_diffusion_jax.evaluation.probes import input_checks
    from brain_diffusion_jax.training.run_folder import checkpoints

    step = checkpoints.best_step(folder)
    found = _predictions(folder, shards, step)
    people = {name: age_evaluation.by_scan(*items) for name, items in found.items()}
    fitted = people.get("validation")
    correction = (
        age_evaluation.fit_correction(fitted.age, fitted.predicted)
        if fitted is not None
        else age_evaluation.BiasCorrection()
    )
    result: dict[str, Any] = {"step": step if step is not None else checkpoints.saved_steps(folder)[-1]}
    for name, (person, _, age, predicted) in found.items():
        result[name] = age_evaluation.report(people[name], (age, predicted, person), correction, replicates=replicates)
    result["input_profile"] = input_checks.write_profile(api.load(folder, "age"), shards)
    checkpoints.write_json(folder / "age_report.json", result)
    lines: list[list[Any]] = []
    for name, p in people.items():
        rows = zip(p.person, p.scan, p.age, p.predicted, correction(p.predicted), p.spread, p.slices, strict=True)
        lines += [[name, *row[:2], *(f"{v:.3f}" for v in row[2:6]), row[6]] for row in rows]
    header = ["split", "person", "scan", "age", "predicted", "corrected", "spread", "slices"]
    write_table(folder / "age_people.csv", header, lines)
    shown = people.get("test", fitted)
    if shown is not None:
        age_evaluation.calibration_plot(folder / "age_calibration.png", shown, correction)
    return result


def _predictions(folder: Path, shards: str, step: int | None) -> dict[str, tuple]:
    """Split -> (person, scan, age, predicted) of every slice with an age, for validation and test people."""
    import jax
    import numpy as np

    from brain_diffusion_jax import config as configs
    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.data.shards.loader import read_all
    from brain_diffusion_jax.data.shards.reader import load_manifest
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.pixels import to_unit
    from brain_diffusion_jax.training import age_step
    from brain_diffusion_jax.training.run_folder import checkpoints

    items = checkpoints.read_config(folder)
    section = configs.from_json(items).age_model
    network, loaded = factory.age_network(section), variables(folder, step)
    target = age_step.find_target(Contract.load(shards).schema, section.target)
    apply = jax.jit(lambda variables, image: network.apply(variables, to_unit(image)))
    result = {}
    for split in ("validation", "test"):
        if split not in load_manifest(shards)["splits"]:
            continue
        data = read_all(shards, split)
        known = np.flatnonzero(data["present"][:, target.column])
        if not len(known):
            continue
        images = data["image"][known]
        size = min(256, len(images))
        padded = np.concatenate([images, np.repeat(images[:1], -len(images) % size, axis=0)])
        parts = [np.asarray(apply(loaded, padded[i : i + size])) for i in range(0, len(padded), size)]
        result[split] = (
            [data["person"][i] for i in known],
            [data["scan"][i] for i in known],
            target.years(data["values"])[known].astype(float),
            np.concatenate(parts)[: len(images)].astype(float),
        )
    return result
