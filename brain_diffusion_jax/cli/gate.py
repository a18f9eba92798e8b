"""Accept or reject generated images one by one, by limits learned from real ones; and their batches.

  brain-diffusion sample runs/tumor --set class=glioma_tumor --each 200 --out pictures/glioma
  brain-diffusion gate pictures/glioma --classifier runs/tumor-class --shards shards/tumor --out gate/glioma
  brain-diffusion gate --self-test --classifier runs/tumor-class --shards shards/tumor --out gate/power

The source is a folder written by `brain-diffusion sample`, or a run folder, of which --per-class
images of each class are drawn. Limits come from the shards' validation images against its training images (which the
generator and the classifier saw), at --rate false alarms; the test images check that rate.
Written: verdicts.csv (every image with its reasons), accepted.png and rejected.png, gate.json (limits
and the measures before and after the gate).

--self-test says what the gate finds on your images: held-out real ones are corrupted on purpose (blur, noise, wrong
class, copies ...), and the rejected share of each kind is printed and written to gate.json, over random
partitions of the validation and test images into those that set the limits and those that meet them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_diffusion_jax.cli.options import WeightOptions
from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option, seed
from brain_diffusion_jax.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


class Options(OptionGroup):
    """What goes through the gate, and how strict it is."""

    source: Path | None = argument("folder of generated images with a manifest, or a run folder", nargs="?")
    classifier: Path = option("run folder of train-class", required=True)
    shards: Path = option("real images, as the generator was trained on", required=True)
    out: Path = option("folder to write (new or empty; default: gate beside the classifier's weights)")
    rate: float = option("false alarms allowed on real images (default 0.05)", 0.05)
    batch: int = option("images of a batch that is tested as a whole (default 100)", 100)
    per_class: int = option("images to draw of each class from a run (default 50)", 50)
    guidance: float | None = option("guidance scale of a run (default: its config)")
    self_test: bool = option("corrupt real images and count what is rejected", False)
    partitions: int = option("partitions of the self-test (default 10)", 10)
    seed: int = option("default 0", 0, type=seed)
    json: bool = option("print the summary as JSON", False)

    def default_out(self) -> Path:
        """Where verdicts go without --out."""
        return self.classifier / ("self-test" if self.self_test else "gate")


def run(options: Options) -> int:
    """Write the verdicts, or what the self-test found, and print a summary."""
    import json

    from brain_diffusion_jax import api, files
    from brain_diffusion_jax.cli.progress import stages
    from brain_diffusion_jax.evaluation.gate import gate_power, gating
    from brain_diffusion_jax.evaluation.labelled import Real

    files.require_new_folder(options.out, "--out")
    if (options.source is None) != options.self_test:
        found = "both" if options.self_test else "neither"
        raise InputError("command line", "source, --self-test", found, "one of them")
    classifier = api.load(options.classifier, "class")
    real = Real.read(options.shards, classifier)
    settings: dict[str, Any] = {"rate": options.rate, "seed": options.seed}
    if options.source is None:
        with stages("", desc="gate") as progress:
            summary = gating.self_test(classifier, real, partitions=options.partitions, progress=progress, **settings)
        files.write_json(options.out / "gate.json", summary)
        text = gate_power.table(summary["self_test"], options.rate)
    else:
        images, words = _images(options, options.source, real.covariate, classifier.words)
        outcome = gating.apply(classifier, real, images, words, options.source, batch_size=options.batch, **settings)
        gating.write(options.out, outcome)
        summary = outcome.summary
        written = "verdicts.csv, accepted.png, rejected.png, gate.json"
        text = f"{gating.describe(summary, options.rate)}\n{options.out}: {written}"
    print(json.dumps(summary) if options.json else text)
    return 0


def _images(
    options: Options, source: Path, covariate: str, classes: Sequence[str]
) -> tuple[Float[np.ndarray, "n rows cols 1"], list[str]]:
    """Unit images and the class that each was made of: those of a folder, or new ones of a run."""
    from brain_diffusion_jax.api.protocols import draw
    from brain_diffusion_jax.data.sample_folder import MANIFEST, read_pictures

    if (source / MANIFEST).exists():
        images, rows = read_pictures(source)
        if covariate not in rows[0]:
            raise InputError(source / MANIFEST, "columns", sorted(rows[0]), f"a column {covariate!r}")
        return images, [row[covariate] for row in rows]
    model = WeightOptions().load(str(source), "generator")
    words = [word for word in classes for _ in range(options.per_class)]
    sampling = model.sampling(guidance_scale=options.guidance)
    return draw(model, [{covariate: word} for word in words], sampling, options.seed), words
