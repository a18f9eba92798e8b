"""Write a cohort of procedurally made brains (NIfTI + participants.tsv in BIDS layout); no person is in it.

brain-diffusion phantom
brain-diffusion phantom --people 100 --seed 1 --out phantoms/
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.parsing import OptionGroup, option, seed


class Options(OptionGroup):
    """What is written, and where."""

    out: str = option("folder to write (new or empty; default: phantom)")
    people: int = option("how many (default 40; about a second each)", 40)
    seed: int = option("default 0", 0, type=seed)

    def default_out(self) -> Path:
        """Where the cohort goes without --out."""
        return Path("phantom")


def next_step(options: Options) -> str:
    """A look at the cohort, by the config that it can be trained with where that is at hand."""
    config = "configs/phantom/demo.py"
    return f"brain-diffusion inspect {f'{config} cohort.root={options.out}' if Path(config).is_file() else options.out}"


def run(options: Options) -> int:
    """Write the cohort and print its folder."""
    from brain_diffusion_jax.cli.progress import bar_of
    from brain_diffusion_jax.data.phantoms.phantom import write_cohort

    with bar_of("brain", desc="phantom") as tell:
        print(write_cohort(options.out, options.people, options.seed, progress=lambda done: tell(done, options.people)))
    return 0
