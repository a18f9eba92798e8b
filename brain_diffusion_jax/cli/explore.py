"""One HTML page to look at a model with sliders: covariates, guidance scale, seed; of volumes three planes.

  brain-diffusion explore runs/NAME
  brain-diffusion explore runs/NAME --age-model runs/AGE --set age=20,40,60,80 slice=45 --scales 1,3 --open

The page needs no server and no network. All pictures of a seed start from the same noise, so that a slider changes
what the model makes of its condition and nothing else. Beside the picture: predicted age (--age-model), dark fraction
or measured ventricles, and the distance to the nearest training picture where the shards are.
What is not given is chosen so that the page stays under 512 pictures and 15 MB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli.options import WeightOptions, parse_set
from brain_diffusion_jax.cli.parsing import argument, listed, option, seed


class Options(WeightOptions):
    """What has sliders, and what reads the pictures."""

    run: str = argument("run folder of a diffusion model")
    set: tuple[str, ...] = option(
        "values of a covariate's slider, e.g. age=20,50,80 sex=F (default: 8 of a number, all words)",
        (),
        nargs="+",
        metavar="NAME=V1,V2",
    )
    scales: tuple[float, ...] = option("guidance scales (default: those of the config)", ())
    seeds: tuple[int, ...] = option("seeds (default 0)", (), type=listed(seed, "seeds separated by commas"))
    sampler: str | None = option("default: the config's")
    steps: int | None = option("sampling steps (default: the config's)")
    age_model: str | None = option("run folder of a regressor: reads ages off the pictures")
    data: str | None = option("shards with the training pictures (default: those of the run)")
    limit: int | None = option("most pictures (default 512, fewer where they are large)", metavar="N")
    batch: int | None = option("pictures at once (default: the config's)")
    out: Path = option("file to write (new; default: explore.html in the run folder)")
    open: bool = option("open the page in a browser", False)
    json: bool = option("print a JSON summary", False)

    def default_out(self) -> Path:
        """Where the page goes without --out."""
        return Path(self.run) / "explore.html"


def next_step(options: Options) -> str:
    """The same in numbers, beside real people."""
    return f"brain-diffusion study {options.run}" + (f" --age-model {options.age_model}" if options.age_model else "")


def run(options: Options) -> int:
    """Say what will be made, make it, and print where the page is."""
    import json
    import sys

    from brain_diffusion_jax.api import exploring
    from brain_diffusion_jax.cli.output import open_page
    from brain_diffusion_jax.cli.progress import bar_of

    exploring.require_new_page(options.out)
    model = options.load(options.run, "diffusion")
    wish = exploring.Wish(
        _values(options, model),
        scales=options.scales,
        seeds=options.seeds,
        limit=options.limit,
        sampler=options.sampler,
        num_steps=options.steps,
    )
    planned = exploring.timed(model, exploring.plan_of(model, wish))
    print(planned.text(), file=sys.stderr, flush=True)
    readers = exploring.Readers(options.age_model, options.data)
    with bar_of("picture") as progress:
        exploring.explore(model, planned, options.out, readers=readers, batch_size=options.batch, progress=progress)
    size = options.out.stat().st_size
    summary = {"out": str(options.out), "pictures": planned.axes.count, "bytes": size}
    text = f"{planned.axes.count} pictures in {options.out} ({size / 1e6:.1f} MB)"
    print(json.dumps(summary) if options.json else text)
    if options.open:
        open_page(options.out)
    return 0


def _values(options: Options, model: Any) -> dict[str, list[Any]]:
    """The values of each covariate that --set names, typed, each once."""
    from brain_diffusion_jax.data import condition_table

    found = [condition_table.typed(c, model.schema, "--set") for c in parse_set(options.set)] if options.set else []
    return {name: list(dict.fromkeys(c[name] for c in found)) for name in (found[0] if found else ())}
