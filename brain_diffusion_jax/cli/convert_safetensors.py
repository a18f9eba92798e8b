"""Publish a run as one .safetensors file with its model card, or open such a file as a run folder.

  brain-diffusion convert safetensors runs/mine --out mine.safetensors   # and mine.md, the model card
  brain-diffusion convert safetensors mine.safetensors --out runs/mine

Config and data contract travel in the file's metadata. The card takes its numbers from the run's
metrics.jsonl and study/study.json.
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.options import WeightOptions
from brain_diffusion_jax.cli.parsing import argument, option


class Options(WeightOptions):
    """What is published or opened, and where it goes."""

    source: Path = argument("run folder, or a .safetensors file", metavar="RUN|FILE")
    out: Path = option("what to write (new; default: NAME.safetensors, or runs/NAME)", metavar="FILE|RUN")
    card: Path | None = option("where the model card goes (default: beside the file, .md)")

    def default_out(self) -> Path:
        """The file of a run, or the run of a file, without --out."""
        if self.source.is_dir():
            return Path(f"{self.source.resolve().name}.safetensors")
        return Path("runs") / self.source.stem


def run(options: Options) -> int:
    """Write the file and its card, or the run folder."""
    from brain_diffusion_jax import files
    from brain_diffusion_jax.api import conversions

    files.require_new_folder(options.out, "--out")
    if options.source.is_dir():
        card = conversions.publish(options.source, options.out, card=options.card, **options.weights)
        print(f"written: {options.out}\nwritten: {card}")
    else:
        conversions.unpack(options.source, options.out)
        print(f"written: {options.out}")
    return 0
