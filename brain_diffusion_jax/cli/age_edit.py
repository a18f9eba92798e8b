"""Counterfactual images: a given slice or volume as it would look under another age, with an audit.

  brain-diffusion age-edit runs/NAME sub-01_T1w.nii.gz --set age=62 sex=F --to 40,60,80
  brain-diffusion age-edit runs/NAME sub-01_T1w.nii.gz --set age=62 --to 80 --age-model runs/age --out edited/

The slice (of a model of volumes: the whole scan) is prepared by the model's contract, inverted under its own
condition (exactly, EDICT) and generated under the wanted ones. Writes edited_*.png (volumes: edited_*.nii.gz),
grid.png (the image, its reconstruction, the edits; below, what changed) and audit.json: error of the
reconstruction at the unchanged condition (an edit to it is no edit; of a latent model this holds what its
autoencoder loses), how much of the person is kept (SSIM and correlation with the image), the dark fraction of the
central box (volumes: measured ventricles and brain) and whether it grows with the covariate, and predicted
ages with --age-model.
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.options import WeightOptions, parse_set
from brain_diffusion_jax.cli.parsing import argument, option
from brain_diffusion_jax.errors import InputError


class Options(WeightOptions):
    """The slice, what is true of it, and what it becomes."""

    run: str = argument("run folder of a diffusion model of slices or volumes")
    scan: Path = argument("a .nii or .nii.gz file")
    set: tuple[str, ...] = option("what is true of the person", (), nargs="+", metavar="NAME=VALUE")
    to: tuple[str, ...] = option("wanted values of the covariate", required=True, metavar="A,B,...")
    covariate: str = option("what to change (default age)", "age")
    slice: int | None = option("index on the model's grid (default: the middle one)")
    out: Path = option("folder to write (new; default: edits in the run folder)")
    steps: int = option("steps of a whole inversion (default 40)", 40)
    strength: float = option("how far to invert, 0 to 1 (default 0.95)", 0.95)
    method: str = option("how the slice is inverted (default edict)", "edict", choices=("edict", "ddim"))
    guidance: float = option("guidance of both ways; 1 is off (default)", 1.0)
    age_model: str | None = option("run folder of an age model, to predict the edits' ages")
    allow: tuple[str, ...] = option(
        "go on with a scan unlike those that --age-model was trained on (a warning stays)",
        (),
        action="append",
        choices=("inputs",),
    )
    json: bool = option("print the audit as JSON", False)

    def default_out(self) -> Path:
        """Where the edits go without --out."""
        return Path(self.run) / "edits"


def run(options: Options) -> int:
    """Write the edits and print what became of the person."""
    import json
    import sys

    from brain_diffusion_jax import files
    from brain_diffusion_jax.api import edits
    from brain_diffusion_jax.cli.progress import bar_of

    files.require_new_folder(options.out, "--out")
    truth, *more = parse_set(options.set)
    if more:
        raise InputError("age-edit", "--set", f"{1 + len(more)} conditions", "one: what is true of the person")
    with bar_of("image", desc="age-edit") as progress:
        report = edits.write_edits(
            options.load(options.run, "diffusion"),
            edits.Subject(options.scan, truth, options.slice, options.allow),
            edits.Change(options.covariate, options.to),
            edits.EditSettings(options.steps, options.strength, options.method, options.guidance),
            options.out,
            predictor=WeightOptions().load(options.age_model, "age") if options.age_model else None,
            progress=progress,
        )
    for note in report.get("notes", ()):
        print(note, file=sys.stderr)
    word = "slice" if "slice" in report else "volume"
    error, kept = report["reconstruction_mean_absolute_error"], report[f"ssim_with_the_{word}"][1:]
    text = f"{len(options.to)} edits in {options.out}; unchanged to {error:.2g}; SSIM with the {word} {kept}"
    print(json.dumps(report) if options.json else text)
    return 0
