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

from brain_diffusion_jax.cli.options import seed


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
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax import api, files
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.gate import gate_power, gating
    from brain_diffusion_jax.evaluation.labelled import Real

    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(out, "--out", "something already there", "a new or empty folder")
    if (arguments.source is None) != arguments.self_test:
        found = "both" if arguments.self_test else "neither"
        raise InputError("command line", "source, --self-test", found, "one of them")
    classifier = api.load(arguments.classifier, "class")
    real = Real.read(arguments.shards, classifier)
    options = {"rate": arguments.rate, "seed": arguments.seed}
    if arguments.self_test:
        summary = gating.self_test(classifier, real, partitions=arguments.partitions, **options)
        files.write_json(out / "gate.json", summary)
        print(json.dumps(summary) if arguments.json else gate_power.table(summary["self_test"], arguments.rate))
        return 0
    images, words = _generated(arguments, real.covariate, classifier.words)
    outcome = gating.apply(classifier, real, images, words, arguments.source, batch_size=arguments.batch, **options)
    gating.write(out, outcome)
    if arguments.json:
        print(json.dumps(outcome.summary))
        return 0
    print(gating.describe(outcome.summary, arguments.rate))
    print(f"{out}: verdicts.csv, accepted.png, rejected.png, gate.json")
    return 0


def _generated(arguments: argparse.Namespace, name: str, words: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Unit pictures [n, rows, cols, 1] and the word of the class each was asked for."""
    from brain_diffusion_jax.api.protocols import draw
    from brain_diffusion_jax.cli.options import open_model
    from brain_diffusion_jax.data.sample_folder import MANIFEST, read_pictures
    from brain_diffusion_jax.errors import InputError

    if (arguments.source / MANIFEST).exists():
        images, rows = read_pictures(arguments.source)
        if name not in rows[0]:
            raise InputError(arguments.source / MANIFEST, "columns", sorted(rows[0]), f"a column {name!r}")
        return images, [row[name] for row in rows]
    model = open_model(arguments.source, "generator")
    asked = [word for word in words for _ in range(arguments.per_class)]
    wanted = [{name: word} for word in asked]
    return draw(model, wanted, model.sampling(guidance_scale=arguments.guidance), arguments.seed), asked
