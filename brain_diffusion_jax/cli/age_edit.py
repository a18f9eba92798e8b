"""Counterfactual pictures: a given slice as it would look under another age, with an audit.

  brain-diffusion age-edit runs/NAME sub-01_T1w.nii.gz --set age=62 sex=F --to 40,60,80 --out edited/

The slice is prepared by the model's contract, inverted under its own condition (exactly, EDICT) and
generated under the wanted ones. Writes edited_*.png, grid.png (the slice, its reconstruction, the edits;
below, what changed) and audit.json: error of the reconstruction at the unchanged condition (an edit to
it is no edit), how much of the person is kept (SSIM and correlation with the slice), the dark fraction of the
central box (ventricles) and whether it grows with the covariate, and predicted ages with --age-model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from brain_diffusion_jax.cli.options import add_weights, open_model, parse_set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run folder of a diffusion model trained on slices")
    parser.add_argument("scan", help="a .nii or .nii.gz file")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="what is true of the person")
    parser.add_argument("--to", required=True, metavar="A,B,...", help="wanted values of the covariate")
    parser.add_argument("--covariate", default="age", help="what to change (default age)")
    parser.add_argument("--slice", type=int, help="index on the model's grid (default: the middle one)")
    parser.add_argument("--out", required=True, help="folder to write (new)")
    parser.add_argument("--steps", type=int, default=40, help="steps of a whole inversion (default 40)")
    parser.add_argument("--strength", type=float, default=0.95, help="how far to invert, 0 to 1 (default 0.95)")
    parser.add_argument("--method", choices=("edict", "ddim"), default="edict")
    parser.add_argument("--guidance", type=float, default=1.0, help="guidance of both ways; 1 is off (default)")
    parser.add_argument("--age-model", help="run folder of an age model, to predict the edits' ages")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        choices=("inputs",),
        help="go on with a scan unlike those that --age-model was trained on (a warning stays)",
    )
    add_weights(parser)
    parser.add_argument("--json", action="store_true", help="print the audit as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json
    import sys

    from brain_diffusion_jax import files
    from brain_diffusion_jax.api import edits
    from brain_diffusion_jax.errors import InputError

    out = Path(arguments.out)
    files.require_new_folder(out, "--out")
    truth, *more = parse_set(arguments.set)
    if more:
        raise InputError("age-edit", "--set", f"{1 + len(more)} conditions", "one: what is true of the person")
    words = [word for word in arguments.to.split(",") if word]
    report = edits.write_edits(
        open_model(arguments.run, "diffusion", arguments),
        arguments.scan,
        truth,
        arguments.covariate,
        words,
        edits.EditSettings(arguments.steps, arguments.strength, arguments.method, arguments.guidance),
        out,
        index=arguments.slice,
        predictor=open_model(arguments.age_model, "age") if arguments.age_model else None,
        allowed=tuple(arguments.allow),
    )
    for note in report.get("notes", ()):
        print(note, file=sys.stderr)
    if arguments.json:
        print(json.dumps(report))
    else:
        error, kept = report["reconstruction_mean_absolute_error"], report["ssim_with_the_slice"][1:]
        print(f"{len(words)} edits in {out}; unchanged to {error:.2g}; SSIM with the slice {kept}")
    return 0
