"""Write a cohort of procedurally made brains (NIfTI + participants.tsv in BIDS layout); no person is in it."""

from __future__ import annotations

import argparse

from brain_diffusion_jax.cli.options import seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, help="folder to write (new or empty)")
    parser.add_argument("--people", type=int, default=40, help="how many (default 40; about a second each)")
    parser.add_argument("--seed", type=seed, default=0)


def run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from brain_diffusion_jax.data.phantoms.phantom import write_cohort

    with tqdm(total=arguments.people, unit="brain", desc="phantom") as bar:
        folder = write_cohort(arguments.out, arguments.people, arguments.seed, progress=lambda _: bar.update())
    print(folder)
    return 0
