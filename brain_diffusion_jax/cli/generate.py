"""A data set of synthetic volumes in BIDS layout, for the rows of a table or for drawn training conditions.

  brain-diffusion generate runs/NAME --conditions wanted.csv --out dataset
  brain-diffusion generate runs/NAME --draw 1000 --shard 0/4 --out dataset

With a model that was told measured volumes (`prepare --measure volumes`) every volume is measured in the same way:
measured.tsv holds requested beside measured. A row's volume depends on the row alone: any number of parts, on any
number of machines, makes the same files. The same command goes on with what an interrupted one left.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from brain_diffusion_jax.cli.options import ContrastOptions, WeightOptions, decode_within, refuse_unguided
from brain_diffusion_jax.cli.parsing import argument, option, seed
from brain_diffusion_jax.errors import InputError

if TYPE_CHECKING:
    from brain_diffusion_jax.api import DiffusionModel, GanModel
    from brain_diffusion_jax.data.condition_draw import DrawnRow


class Options(WeightOptions, ContrastOptions):
    """What is asked for, how it is sampled, and which part of it this call makes."""

    resume: ClassVar[bool] = True  # what an interrupted call left is gone on with

    run: str = argument("run folder of a diffusion model or a GAN of volumes")
    out: Path = option("folder of the data set (new, or one that is not finished; default: RUN/dataset)")
    conditions: Path | None = option("a CSV or TSV with one volume a row (columns: the covariates)", metavar="CSV")
    draw: int | None = option("instead, so many whole rows drawn from the training conditions", metavar="N")
    spread: float = option("with --draw, noise on each number, as a share of its domain (default 0)", 0.0)
    data: str | None = option("the shards that --draw takes rows of and region.npz lies in (default: the run's)")
    no_measure: bool = option("do not measure ventricles and brain (of models that were told them)", False)
    shard: str = option("the part to make, i/n, counted from 0 (default 0/1)", "0/1", metavar="I/N")
    seed: int = option("of the draw and of every volume (default 0)", 0, type=seed)
    batch: int | None = option("volumes at once (default: the config's)")
    sampler: str | None = option("default: the config's")
    steps: int | None = option("sampling steps (default: the config's)")
    guidance: float | None = option("guidance scale; 1 is off, 0 unconditional (default: config)")
    memory_gib: float | None = option("decode latents in slabs where a volume takes more (default: config)")
    json: bool = option("print a JSON summary", False)

    def default_out(self) -> Path:
        """Where the data set goes without --out."""
        return Path(self.run) / "dataset"


def run(options: Options) -> int:
    """Write the part that was asked for, and print where it is."""
    import json

    from brain_diffusion_jax.api.generation import generate
    from brain_diffusion_jax.cli.progress import bar_of
    from brain_diffusion_jax.data.prepare.head_volumes import region_of

    model = options.load(options.run, "generator")
    refuse_unguided(model, options, "sampler", "steps", "guidance")
    decode_within(model, options.memory_gib)
    rows = _rows(options, model)
    sampling = model.sampling(
        sampler=options.sampler, num_steps=options.steps, guidance_scale=options.guidance, batch_size=options.batch
    )
    region = None
    if model.contract is not None and not options.no_measure:
        region = region_of(model.contract, options.data or model.config.data.shards)
    ema = not options.no_ema
    with bar_of("volume") as progress:
        out = generate(
            model,
            rows,
            sampling,
            options.out,
            shard=options.shard,
            ema=ema,
            region=region,
            contrast=options.contrast,
            progress=progress,
        )
    summary = {"out": str(out), "rows": len(rows), "shard": options.shard}
    print(json.dumps(summary) if options.json else f"part {options.shard} of {len(rows)} volumes in {out}")
    return 0


def _rows(options: Options, model: DiffusionModel | GanModel) -> list[DrawnRow]:
    from brain_diffusion_jax.data.condition_draw import ConditionDraw, table_rows

    if (options.conditions is None) == (options.draw is None):
        raise InputError("command line", "--conditions, --draw", "both or neither", "one of them")
    if options.conditions is not None:
        return table_rows(options.conditions, model.schema, options.seed)
    if not options.draw or options.draw < 1:
        raise InputError("command line", "--draw", options.draw, "1 or more")
    shards = options.data or model.config.data.shards
    draw = ConditionDraw.of_shards(shards, seed=options.seed, spread=options.spread)
    return list(draw.rows(range(options.draw)))
