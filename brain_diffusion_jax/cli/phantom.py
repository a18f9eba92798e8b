"""Write a cohort of procedurally made brains (NIfTI + participants.tsv in BIDS layout); no person is in it."""

from __future__ import annotations

from brain_diffusion_jax.cli.parsing import OptionGroup, option, seed


class Options(OptionGroup):
    """What is written, and where."""

    out: str = option("folder to write (new or empty)", required=True)
    people: int = option("how many (default 40; about a second each)", 40)
    seed: int = option("default 0", 0, type=seed)


def run(options: Options) -> int:
    """Write the cohort and print its folder."""
    from tqdm import tqdm

    from brain_diffusion_jax.data.phantoms.phantom import write_cohort

    with tqdm(total=options.people, unit="brain", desc="phantom") as bar:
        print(write_cohort(options.out, options.people, options.seed, progress=lambda _: bar.update()))
    return 0
