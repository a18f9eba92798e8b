"""Every guidance scale against real held-out people: numbers with intervals, and one HTML report.

  brain-diffusion study runs/oasis --age-model runs/age
  brain-diffusion study runs/oasis --age-model runs/age --scales 1,3,5 --num 200 --inception FILE.pth
  brain-diffusion study --compare runs/a runs/b --out comparison/

Conditions are those of the people in the evaluated split; as many pictures are made at each scale as
are compared with. Interrupted, the same command continues. Settings: config sections study and sample.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli.options import PredictorOptions, open_model, refuse_unguided, seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", help="run folder of a diffusion model or a WGAN-GP")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the run's config")
    PredictorOptions.add(parser)
    parser.add_argument("--second-age-model", help="another regressor, not used for any choice")
    parser.add_argument("--classifier", help="run folder of train-class: its features for another Frechet distance")
    parser.add_argument("--data", help="shards with the real people (default: those of the run)")
    parser.add_argument("--split", help="split whose people are asked for (default: config, test)")
    parser.add_argument("--scales", help="guidance scales, such as 1,3,5,7; 1 is off (default: config)")
    parser.add_argument("--num", type=int, help="pictures per scale (default: as many as the split has)")
    parser.add_argument("--sampler", help="default: the config's")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the config's)")
    parser.add_argument("--seed", type=seed, help="default: the config's study.seed")
    parser.add_argument("--checkpoint", type=int, help="step of the diffusion model (default: the newest)")
    parser.add_argument("--utility", type=int, default=0, metavar="SEEDS", help="train-on-synthetic test-on-real")
    parser.add_argument("--utility-steps", type=int, default=400, help="its training steps; 0: a linear pixel probe")
    parser.add_argument("--out", help="folder to write (default: RUN/study)")
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="put finished studies side by side")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax.api import studies
    from brain_diffusion_jax.config import changed
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.report import report
    from brain_diffusion_jax.evaluation.study.study_result import StudyResult

    others = {Path(r).name or str(r): StudyResult.load(r) for r in arguments.compare or ()}
    if arguments.run is None:
        if not others:
            expected = "the run folder of a diffusion model, or --compare RUN RUN"
            raise InputError("command line", "RUN", "nothing", expected)
        print(report.write_comparison(others, arguments.out or "comparison"))
        return 0
    model = open_model(arguments.run, "generator", arguments)
    refuse_unguided(model, {name: getattr(arguments, name) for name in ("steps", "sampler", "scales")})
    model.config = changed(model.config, arguments.overrides, reads=("data.shards", "sample", "study"))
    asked = studies.Asked(
        data=arguments.data,
        age_model=arguments.age_model,
        second_age_model=arguments.second_age_model,
        classifier=arguments.classifier,
        extractors=PredictorOptions.of(arguments).inception_extractors(),
        guidance_scales=_scales(arguments.scales),
        num_samples=arguments.num,
        split=arguments.split,
        seed=arguments.seed,
        sampler=arguments.sampler,
        num_steps=arguments.steps,
        utility=arguments.utility,
        utility_steps=arguments.utility_steps,
        out=arguments.out,
    )
    result = studies.study(model, asked, compare=others, progress=progress_bars())
    if not result.rows:  # another process measures and writes
        return 0
    path = studies.folder_of(model, asked) / report.FILE_NAME
    if arguments.json:
        items = result.to_json()
        for row in items["rows"]:
            row.pop("pictures")
        print(json.dumps({"report": str(path), **{k: items[k] for k in ("title", "method", "rows", "notes")}}))
    else:
        print(summary(result))
        print(f"{path} (study.json, metrics.csv and pictures.csv beside it)")
    return 0


def _scales(text: str | None) -> list[float] | None:
    from brain_diffusion_jax.errors import InputError

    try:
        return None if text is None else [float(word) for word in text.split(",")]
    except ValueError:
        raise InputError("command line", "--scales", text, "numbers with commas, such as 1,3,5") from None


def progress_bars() -> Any:
    """A function (stage, done, total) that keeps one tqdm bar per stage."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def tell(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage, disable=None)
        bar = bars[stage]
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return tell


def summary(result: Any) -> str:
    """The main columns as text."""
    from brain_diffusion_jax.evaluation.metrics.metric_id import DARK, SSIM, MetricId
    from brain_diffusion_jax.evaluation.report.figures import fd_metric
    from brain_diffusion_jax.evaluation.report.report_tables import number

    metrics = [fd_metric(result.rows), MetricId(SSIM), *(result.reading.of(name) for name in ("mae", "rmse", "r"))]
    metrics = [m for m in [*metrics, MetricId(DARK, statistic="spearman")] if any(row.has(m) for row in result.rows)]
    widths = [max(len(str(m)), 9) for m in metrics]
    lines = [" " * 20 + "".join(f"  {m!s:>{w}}" for m, w in zip(metrics, widths, strict=True))]
    for row in result.rows:
        cells = (number(row.number(m).get("value")) for m in metrics)
        lines.append(f"{row.name:<20}" + "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    return "\n".join([*lines, *result.notes])
