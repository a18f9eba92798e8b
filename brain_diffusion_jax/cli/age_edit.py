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
from typing import Any

from brain_diffusion_jax import files
from brain_diffusion_jax.pixels import to_uint8, to_unit


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
    parser.add_argument("--checkpoint", type=int, help="step to load (default: the newest)")
    parser.add_argument("--no-ema", action="store_true", help="the raw parameters instead of the averaged ones")
    parser.add_argument("--json", action="store_true", help="print the audit as JSON")


def _truth(arguments: argparse.Namespace, schema: Any, index: int, position_mm: float) -> dict[str, Any]:
    """The person's own condition; the slice is known from the scan."""
    from brain_diffusion_jax.cli.conditions import parse_set
    from brain_diffusion_jax.errors import InputError

    known, *more = parse_set(arguments.set)
    if more:
        raise InputError("age-edit", "--set", f"{1 + len(more)} conditions", "one: what is true of the person")
    if arguments.covariate not in schema.names:
        raise InputError("age-edit", "--covariate", arguments.covariate, f"one of {', '.join(schema.names)}")
    if arguments.covariate not in known:
        raise InputError("age-edit", "--set", f"no {arguments.covariate}", f"the true one: {arguments.covariate}=...")
    if "slice" in schema.names:
        in_mm = getattr(schema["slice"], "unit", "") == "mm"
        known.setdefault("slice", position_mm if in_mm else index)
    return known


def _picture(model: Any, arguments: argparse.Namespace) -> tuple[Any, int, Any]:
    """(unit picture [rows, cols], its row, PreparedScan) of the scan, as the model's contract asks."""
    from brain_diffusion_jax.data.prepare.contract_preparation import preparation_of
    from brain_diffusion_jax.data.prepare.pipeline import prepare_volume
    from brain_diffusion_jax.errors import InputError

    if model.contract is None:
        raise InputError(arguments.run, "contract", "none", "a model that knows how its slices were cut")
    prepared = prepare_volume(arguments.scan, preparation_of(model.contract, arguments.run))
    wanted = prepared.indices[len(prepared.indices) // 2] if arguments.slice is None else arguments.slice
    if wanted not in prepared.indices:
        first, last = prepared.indices[0], prepared.indices[-1]
        raise InputError("age-edit", "--slice", wanted, f"a slice the model knows: {first} to {last}")
    row = prepared.indices.index(wanted)
    return to_unit(prepared.pictures[row]), row, prepared


def _check_inputs(judge: Any, prepared: Any, arguments: argparse.Namespace) -> list[str]:
    """Warnings about the scan as an input of the age model; InputError where it is unlike its own, if not allowed."""
    from brain_diffusion_jax.cli import input_checks
    from brain_diffusion_jax.data.checks import scan_checks

    departures = input_checks.unlike(judge, prepared.pictures[..., None], prepared.indices)
    if departures is None:
        return [f"{arguments.scan}: {input_checks.UNCHECKED}"]
    if not departures:
        return []
    expected = "a scan like those that the age model was trained on (--allow inputs to go on)"
    found = "; ".join(map(str, departures))
    return scan_checks.refuse(arguments.scan, [scan_checks.Finding("inputs", found, expected)], tuple(arguments.allow))


def edit(model: Any, picture: Any, truth: dict[str, Any], wanted: list[dict[str, Any]], **settings: Any) -> Any:
    """Unit pictures [1 + n, rows, cols]: the slice under its own condition, then under each wanted one.

    settings: num_steps, strength, method, guidance_scale.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from brain_diffusion_jax.api.model import require_finite
    from brain_diffusion_jax.diffusion import editing, guidance, levels
    from brain_diffusion_jax.diffusion.prediction import Clipped

    process = model.process
    targets = [truth, *wanted]
    source, target = model.schema.encode([truth] * len(targets)), model.schema.encode(targets)
    path = levels.select(process.table, settings["num_steps"], "trailing")
    bare = model.denoise.inner if isinstance(model.denoise, Clipped) else model.denoise

    @jax.jit
    def program(bare, x0, source, target):
        denoise = guidance.classifier_free(bare, float(settings["guidance_scale"]))
        chosen = dict(strength=settings["strength"], method=settings["method"])
        return editing.edit_condition(denoise, path, x0, source, target, **chosen)

    x0 = process.to_network(jnp.asarray(np.repeat(np.asarray(picture)[None, ..., None], len(targets), 0)))
    x = program(bare, x0, source, target)
    require_finite(model.path, np.isfinite(x).all(axis=(1, 2, 3)), targets, f"age-edit, {settings}")
    return np.asarray(process.to_unit(x))[..., 0]


def audit(picture: Any, edited: Any, values: list[float], dark_fraction: Any) -> dict[str, Any]:
    """What changed and what did not. picture: [rows, cols]; edited: [1 + n, rows, cols], unchanged first.

    dark_fraction: as of evaluation.anatomy.
    """
    import numpy as np

    from brain_diffusion_jax.evaluation.metrics.ssim import paired_ssim

    dark = [float(v) for v in dark_fraction(np.clip(edited, 0, 1))]
    order = np.argsort(values)
    same = np.repeat(picture[None], len(edited), 0)
    return {
        "reconstruction_mean_absolute_error": float(np.abs(edited[0] - picture).mean()),
        "reconstruction_largest_error": float(np.abs(edited[0] - picture).max()),
        "ssim_with_the_slice": [round(float(v), 4) for v in paired_ssim(same, edited)],
        "correlation_with_the_slice": [float(np.corrcoef(picture.ravel(), p.ravel())[0, 1]) for p in edited],
        "dark_fraction_of_the_slice": float(dark_fraction(picture[None])[0]),
        "dark_fraction": dark,
        "dark_fraction_grows": bool(np.all(np.diff(np.asarray(dark)[1:][order]) >= 0)),
    }


def run(arguments: argparse.Namespace) -> int:
    import json
    import sys
    from pathlib import Path

    import numpy as np

    from brain_diffusion_jax import api
    from brain_diffusion_jax.cli.sample import load_diffusion
    from brain_diffusion_jax.data import picture_grid
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.metrics import anatomy

    out = Path(arguments.out)
    files.require_new_folder(out, "--out")
    model = load_diffusion(arguments)
    picture, row, prepared = _picture(model, arguments)
    index = prepared.indices[row]
    truth = _truth(arguments, model.schema, index, prepared.positions_mm[row])
    judge = api.load(arguments.age_model) if arguments.age_model else None
    if judge is not None and not isinstance(judge, api.AgeModel):
        raise InputError(arguments.age_model, "kind", judge.kind, "age")
    notes = _check_inputs(judge, prepared, arguments) if judge is not None else []
    words = [word for word in arguments.to.split(",") if word]
    wanted = [{**truth, arguments.covariate: word} for word in words]
    edited = edit(
        model,
        picture,
        truth,
        wanted,
        num_steps=arguments.steps,
        strength=arguments.strength,
        method=arguments.method,
        guidance_scale=arguments.guidance,
    )
    column = model.schema.names.index(arguments.covariate)
    values = [float(model.schema.encode([c]).values[0, column]) for c in wanted]
    dark = anatomy.dark_fraction(model.config.study.dark_fraction, model.contract, picture[None])
    report: dict[str, Any] = {"scan": str(arguments.scan), "slice": index, "truth": truth, "to": words}
    report |= audit(picture, edited, values, dark)
    if judge is not None:
        report["notes"] = notes
        judged = np.clip(np.concatenate([picture[None], edited]), 0, 1)[..., None]
        report["predicted_age_slice_then_edits"] = [float(v) for v in judge.predict(judged)]
    # What changed, around mid grey.
    changes = np.clip(0.5 + (np.concatenate([picture[None], edited]) - picture), 0, 1)
    shown = np.concatenate([picture[None], edited, changes])
    with files.replacing_folder(out) as part:
        for name, one in zip(["same", *words], edited, strict=True):
            files.write_png(part / f"edited_{arguments.covariate}_{name}.png", to_uint8(one))
        files.write_png(part / "grid.png", picture_grid.tile(shown, len(edited) + 1))
        if model.contract is not None:
            model.contract.save(part)
        files.write_json(part / "audit.json", report)
    for note in notes:
        print(note, file=sys.stderr)
    if arguments.json:
        print(json.dumps(report))
    else:
        error, kept = report["reconstruction_mean_absolute_error"], report["ssim_with_the_slice"][1:]
        print(f"{len(words)} edits in {out}; unchanged to {error:.2g}; SSIM with the slice {kept}")
    return 0
