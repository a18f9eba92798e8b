"""Accept or reject generated pictures one by one, by limits learned from real ones; and their batches.

  brain-diffusion sample runs/tumor --set class=glioma_tumor --each 200 --out pictures/glioma
  brain-diffusion gate pictures/glioma --classifier runs/tumor-class --shards shards/tumor --out gate/glioma
  brain-diffusion gate --self-test --classifier runs/tumor-class --shards shards/tumor --out gate/power

The source is a folder written by `brain-diffusion sample`, or a run folder, which then draws --per-class
pictures of each class. Limits come from the shards' validation pictures against its training pictures (which the
generator and the classifier saw), at --rate false alarms; the test pictures check that rate.
Written: verdicts.csv (every picture with its reasons), accepted.png and rejected.png, gate.json (limits
and the measures before and after the gate).

--self-test says what the gate finds on your pictures: held-out real ones are spoiled on purpose (blur, noise, wrong
class, copies ...), and the rejected share of each kind is printed and written to gate.json, over random
partitions of the validation and test pictures into those that set the limits and those that are judged.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax import files, seeds
from brain_diffusion_jax.pixels import to_unit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, nargs="?", help="folder of generated pictures with a manifest, or a run folder"
    )
    parser.add_argument("--classifier", type=Path, required=True, help="run folder of train-class")
    parser.add_argument("--shards", type=Path, required=True, help="real pictures, as the generator was trained on")
    parser.add_argument("--out", type=Path, required=True, help="folder to write (new or empty)")
    parser.add_argument("--rate", type=float, default=0.05, help="false alarms allowed on real pictures (default 0.05)")
    parser.add_argument("--batch", type=int, default=100, help="pictures of a batch judged as a whole")
    parser.add_argument("--per-class", type=int, default=50, help="pictures to draw of each class from a run")
    parser.add_argument("--guidance", type=float, help="guidance scale of a run (default: its config)")
    parser.add_argument("--self-test", action="store_true", help="spoil real pictures and count what is rejected")
    parser.add_argument("--partitions", type=int, default=10, help="partitions of the self-test (default 10)")
    parser.add_argument("--seed", type=seeds.seed, default=0)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    import numpy as np

    from brain_diffusion_jax.cli.train_class import load_classifier
    from brain_diffusion_jax.contract import Contract
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.gate import gate
    from brain_diffusion_jax.evaluation.metrics import class_measures

    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(out, "--out", "something already there", "a new or empty folder")
    if (arguments.source is None) != arguments.self_test:
        found = "both" if arguments.self_test else "neither"
        raise InputError("command line", "source, --self-test", found, "one of them")
    judge = load_classifier(arguments.classifier)
    contract = Contract.load(arguments.shards)
    if tuple(contract.image_size) != judge.image_size:
        raise InputError(arguments.shards, "image_size", contract.image_size, f"{judge.image_size}, as the classifier")
    name = contract.schema.names[judge.column] if judge.column < len(contract.schema.names) else ""
    real = {split: real_pictures(arguments.shards, split, judge) for split in ("train", "validation", "test")}
    if arguments.self_test:
        return _self_test(arguments, judge, real)
    images, words = _generated(arguments, name, judge.words)
    unknown = sorted(set(words) - set(judge.words))
    if unknown:
        raise InputError(arguments.source, f"class {name}", ", ".join(map(repr, unknown)), f"one of {judge.words}")
    labels = np.array([judge.words.index(word) for word in words])
    made = gate.Pictures(images, labels)
    control = gate.Gate(
        judge.features,
        judge.probabilities,
        real["train"],
        real["validation"],
        false_alarm_rate=arguments.rate,
        batch_size=min(arguments.batch, len(labels)),
        seed=arguments.seed,
    )
    verdicts = control.judge(made)

    def row(rows: Any) -> dict[str, Any] | None:
        if not len(rows):
            return None
        features, p = judge.features(images[rows]), judge.probabilities(images[rows])
        test = real["test"]
        return class_measures.measure(features, p, labels[rows], judge.features(test.images), test.labels, judge.words)

    floor = class_measures.measure(
        judge.features(real["validation"].images),
        judge.probabilities(real["validation"].images),
        real["validation"].labels,
        judge.features(real["test"].images),
        real["test"].labels,
        judge.words,
    )
    passed = np.flatnonzero(verdicts.accepted)
    rows = {"before the gate": row(np.arange(len(labels))), "after the gate": row(passed), "real against real": floor}
    summary: dict[str, Any] = {
        "source": str(arguments.source),
        "classifier": judge.name,
        "pictures": len(labels),
        "accepted": len(passed),
        "reasons": {n: sum(n in r for r in verdicts.reasons) for n in gate.SAYS},
        "false_alarms_on_test": float((~control.judge(real["test"]).accepted).mean()),
        "batch": control.judge_batch(made, arguments.seed)._asdict() if len(labels) >= control.batch_size else None,
        "gate": control.to_json(),
        "measures": rows,
    }
    _write(out, summary, made, words, verdicts)
    if arguments.json:
        print(json.dumps(summary))
        return 0
    print(f"{summary['accepted']} of {summary['pictures']} pictures accepted; rejected because:")
    for reason, count in summary["reasons"].items():
        if count:
            print(f"  {count:>6}  {gate.SAYS[reason]}")
    found = 100 * summary["false_alarms_on_test"]
    print(f"real held-out pictures rejected: {found:.1f} % (stated: {100 * control.rate:g} %)")
    print(class_measures.table({k: v for k, v in rows.items() if v is not None}))
    print(f"{out}: verdicts.csv, accepted.png, rejected.png, gate.json")
    return 0


def _self_test(arguments: argparse.Namespace, judge: Any, real: dict[str, Any]) -> int:
    import json

    import numpy as np

    from brain_diffusion_jax.evaluation.gate import gate, gate_power
    from brain_diffusion_jax.training.run_folder.checkpoints import write_json

    held = gate.Pictures(*(np.concatenate([a, b]) for a, b in zip(real["validation"], real["test"], strict=True)))
    options: dict[str, Any] = {"false_alarm_rate": arguments.rate, "seed": arguments.seed}
    control = gate.Gate(judge.features, judge.probabilities, real["train"], held, draws=2, **options)
    found = gate_power.power(control, real["train"], held, partitions=arguments.partitions, seed=arguments.seed)
    summary = {
        "classifier": judge.name,
        "false_alarm_rate": arguments.rate,
        "partitions": arguments.partitions,
        "self_test": found,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "gate.json", summary)
    print(json.dumps(summary) if arguments.json else gate_power.table(found, arguments.rate))
    return 0


def real_pictures(shards: Path, split: str, judge: Any) -> Any:
    """gate.Pictures of a split, without those whose class is unknown."""

    from brain_diffusion_jax.data.shards.loader import read_all
    from brain_diffusion_jax.evaluation.gate.gate import Pictures

    items = read_all(shards, split)
    known = items["present"][:, judge.column]
    return Pictures(to_unit(items["image"][known]), items["values"][known, judge.column].astype(int))


def _generated(arguments: argparse.Namespace, name: str, words: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Unit pictures [n, rows, cols, 1] and the word of the class each was asked for."""
    from brain_diffusion_jax.data.sample_folder import MANIFEST, read_pictures
    from brain_diffusion_jax.errors import InputError

    if (arguments.source / MANIFEST).exists():
        images, rows = read_pictures(arguments.source)
        if name not in rows[0]:
            raise InputError(arguments.source / MANIFEST, "columns", sorted(rows[0]), f"a column {name!r}")
        return images, [row[name] for row in rows]
    from brain_diffusion_jax.cli.sample import draw, load_generator

    model = load_generator(arguments.source)
    asked = [word for word in words for _ in range(arguments.per_class)]
    wanted = [{name: word} for word in asked]
    return draw(model, wanted, guidance=arguments.guidance, seed=arguments.seed), asked


def _write(out: Path, summary: dict[str, Any], made: Any, words: list[str], verdicts: Any) -> None:
    """All files, or none of them."""
    import numpy as np

    from brain_diffusion_jax.data import picture_grid
    from brain_diffusion_jax.data.table import write_table
    from brain_diffusion_jax.evaluation.gate import gate

    lines = []
    for i, (word, good, reasons) in enumerate(zip(words, verdicts.accepted, verdicts.reasons, strict=True)):
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
                picture_grid.save_png(part / f"{name}.png", picture_grid.tile(made.images[worst_first]))
