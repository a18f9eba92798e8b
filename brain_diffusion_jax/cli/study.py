"""Every guidance scale against real held-out people: numbers with intervals, and one HTML report.

  brain-diffusion study runs/oasis --age-model runs/age
  brain-diffusion study runs/oasis --age-model runs/age --scales 1,3,5 --num 200 --inception FILE.pth
  brain-diffusion study runs/oasis --baselines runs/lsgan runs/vaegan
  brain-diffusion study runs/volumes --medicalnet FILE.pth --deepbet --extrapolate ventricles
  brain-diffusion study --compare runs/a runs/b --out comparison/

Conditions are those of the people in the evaluated split; as many images are made at each scale as
are compared with. Interrupted, the same command continues. Settings: config sections study and sample.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli.options import PredictorOptions, WeightOptions, refuse_unguided
from brain_diffusion_jax.cli.parsing import argument, option, seed
from brain_diffusion_jax.errors import InputError


class Options(PredictorOptions):
    """What is studied, what reads it, and how it is drawn."""

    run: str | None = argument("run folder of a diffusion model or a GAN", nargs="?")
    overrides: tuple[str, ...] = argument("changes to the run's config", nargs="*", metavar="section.key=value")
    second_age_model: str | None = option("another regressor, not used for any choice")
    classifier: str | None = option("run folder of train-class: its features for another Frechet distance")
    data: str | None = option("shards with the real people (default: those of the run)")
    split: str | None = option("split whose people are compared with (default: config, test)")
    scales: tuple[float, ...] | None = option("guidance scales, such as 1,3,5,7; 1 is off (default: config)")
    num: int | None = option("images per scale (default: as many as the split has)")
    extrapolate: tuple[str, ...] | None = option(
        "covariates, with commas, asked for from -0.3 to 1.3 of their range (default: config, none)", metavar="NAME"
    )
    sampler: str | None = option("default: the config's")
    steps: int | None = option("sampling steps (default: the config's)")
    seed: int | None = option("default: the config's study.seed", type=seed)
    checkpoint: int | None = option("step of the diffusion model (default: the newest)")
    pca_gauss: bool = option("PCA-Gauss, a baseline without a network, beside the model (volumes: always)", False)
    baselines: tuple[str, ...] = option(
        "run folders of other generators, drawn for the same conditions and put into the same tables",
        (),
        nargs="+",
        metavar="RUN",
    )
    utility: int = option("train-on-synthetic test-on-real", 0, metavar="SEEDS")
    utility_steps: int = option("its training steps (default 400); 0: a linear pixel probe", 400)
    out: str | None = option("folder to write (default: RUN/study)")
    compare: tuple[str, ...] = option("put finished studies side by side", (), nargs="+", metavar="RUN")
    open: bool = option("open the report in a browser", False)
    json: bool = option("print the numbers as JSON", False)


def next_step(options: Options) -> str:
    """The model under sliders, with the same predictor."""
    if options.run is None:
        return ""
    return f"brain-diffusion explore {options.run}" + (f" --age-model {options.age_model}" if options.age_model else "")


def run(options: Options) -> int:
    """Write the report and print its main numbers."""
    import json

    from brain_diffusion_jax.api import studies
    from brain_diffusion_jax.cli.output import open_page
    from brain_diffusion_jax.cli.progress import stages
    from brain_diffusion_jax.config import changed
    from brain_diffusion_jax.evaluation.report import report, text_tables
    from brain_diffusion_jax.evaluation.study.study_result import StudyResult

    others = {Path(r).name or str(r): StudyResult.load(r) for r in options.compare}
    if options.run is None:
        if not others:
            expected = "the run folder of a diffusion model, or --compare RUN RUN"
            raise InputError("command line", "RUN", "nothing", expected)
        written = report.write_comparison(others, options.out or "comparison")
        print(written)
        if options.open:
            open_page(written)
        return 0
    model: Any = WeightOptions(checkpoint=options.checkpoint).load(options.run, "generator")
    refuse_unguided(model, options, "steps", "sampler", "scales")
    model.config = changed(
        model.config, options.overrides, reads=("data.shards", "sample", "study", "codec.memory_gib")
    )
    plan = studies.StudyPlan(
        data=options.data,
        age_model=options.age_model,
        second_age_model=options.second_age_model,
        classifier=options.classifier,
        extractors=options.extractors(),
        guidance_scales=options.scales,
        pca_gauss=options.pca_gauss or None,
        baselines=options.baselines,
        num_samples=options.num,
        split=options.split,
        seed=options.seed,
        extrapolate=options.extrapolate,
        sampler=options.sampler,
        num_steps=options.steps,
        utility=options.utility,
        utility_steps=options.utility_steps,
        out=options.out,
    )
    with stages("image") as progress:
        result = studies.study(model, plan, compare=others, progress=progress)
    if not result.rows:  # another process measures and writes
        return 0
    path = studies.folder_of(model, plan) / report.FILE_NAME
    if options.json:
        items = result.to_json()
        for row in items["rows"]:
            row.pop("pictures")
        print(json.dumps({"report": str(path), **{k: items[k] for k in ("title", "method", "rows", "notes")}}))
    else:
        print(f"{text_tables.study_table(result)}\n{path} (study.json, metrics.csv and pictures.csv beside it)")
    if options.open:
        open_page(path)
    return 0
