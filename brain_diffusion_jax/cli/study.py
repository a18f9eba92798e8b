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

from brain_diffusion_jax import files, seeds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", help="run folder of a diffusion model or a WGAN-GP")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the run's config")
    parser.add_argument("--age-model", help="run folder of the regressor that judges age and gives features")
    parser.add_argument("--second-age-model", help="another regressor, not used for any choice")
    parser.add_argument("--classifier", help="run folder of train-class: its features for another Frechet distance")
    parser.add_argument("--data", help="shards with the real people (default: those of the run)")
    parser.add_argument("--split", help="split whose people are asked for (default: config, test)")
    parser.add_argument("--scales", help="guidance scales, such as 1,3,5,7; 1 is off (default: config)")
    parser.add_argument("--num", type=int, help="pictures per scale (default: as many as the split has)")
    parser.add_argument("--sampler", help="default: the config's")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the config's)")
    parser.add_argument("--seed", type=seeds.seed, help="default: the config's study.seed")
    parser.add_argument("--checkpoint", type=int, help="step of the diffusion model (default: the newest)")
    parser.add_argument("--inception", help="pytorch-fid's weights file, for FD[inception-...]")
    parser.add_argument("--inception-dims", default="768", help="64, 192, 768 or 2048, several with commas")
    parser.add_argument("--utility", type=int, default=0, metavar="SEEDS", help="train-on-synthetic test-on-real")
    parser.add_argument("--utility-steps", type=int, default=400, help="its training steps; 0: a linear pixel probe")
    parser.add_argument("--out", help="folder to write (default: RUN/study)")
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="put finished studies side by side")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    import json

    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.report import report
    from brain_diffusion_jax.evaluation.study.study_result import StudyResult

    others = {Path(r).name or str(r): StudyResult.load(r) for r in arguments.compare or ()}
    if arguments.run is None:
        if not others:
            raise InputError(
                "command line", "RUN", "nothing", "the run folder of a diffusion model, or --compare RUN RUN"
            )
        path = report.write_comparison(others, arguments.out or "comparison")
        print(path)
        return 0
    result, out = _study(arguments)
    if not result.rows:  # another process measures and writes
        return 0
    path = report.write_report(result, out, compare=others)
    if arguments.json:
        items = result.to_json()
        for row in items["rows"]:
            row.pop("pictures")
        print(json.dumps({"report": str(path), **{k: items[k] for k in ("title", "method", "rows", "notes")}}))
    else:
        print(_summary(result))
        print(f"{path} (study.json, metrics.csv and pictures.csv beside it)")
    return 0


def _study(arguments: argparse.Namespace) -> tuple[Any, Path]:
    import jax

    from brain_diffusion_jax.cli.real_people import open_real
    from brain_diffusion_jax.cli.sample import load_generator, refuse_diffusion_settings
    from brain_diffusion_jax.config import apply_overrides
    from brain_diffusion_jax.evaluation.study import study
    from brain_diffusion_jax.kinds import KINDS

    model = load_generator(arguments.run, step=arguments.checkpoint)
    diffusion = model.kind == "diffusion"
    if not diffusion:
        refuse_diffusion_settings(arguments, model)
    own = [path for path in KINDS[model.kind].reads if path.startswith(("sample", "study"))]
    config = apply_overrides(model.config, arguments.overrides, reads=("data.shards", *own))
    shards, contract, real = open_real(model, arguments.data)
    extractors, age_fn, second = regressors(arguments, contract)
    evaluated = arguments.split or config.study.evaluated
    remarks = check_inputs(arguments, contract, shards, evaluated)
    extractors = [*class_extractors(arguments, contract), *extractors, *inception_extractors(arguments)]
    sampling = {
        "sampler": arguments.sampler or config.sample.sampler,
        "num_steps": arguments.steps or config.sample.num_steps,
        "spacing": config.sample.spacing,
    }
    if not diffusion:
        sampling, config.study.guidance_scales = {}, (1.0,)
    settings = settings_from(arguments, config, model, sampling)
    out = Path(arguments.out or Path(arguments.run) / "study")
    method: dict[str, Any] = {"run": str(arguments.run), "data": str(shards), "sampling": sampling}
    if arguments.age_model:
        method["age_model"] = str(arguments.age_model)
    if arguments.second_age_model:
        method["second_age_model"] = str(arguments.second_age_model)
    result = study.run_study(
        sampler(model, settings.batch_size, sampling),
        real,
        extractors,
        age_fn,
        settings,
        out,
        contract=contract,
        second_age_fn=second,
        method=method,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        barrier=_barrier if jax.process_count() > 1 else None,
        progress=progress_bars(),
    )
    new = [remark for remark in remarks if remark not in result.notes]
    if new and result.rows:
        result.notes += new
        result.save(out)
    if not diffusion and result.rows:
        result.notes.append(f"A {model.kind} has no guidance: w=1 stands for its pictures as they come.")
        result.save(out)
    if arguments.utility and jax.process_index() == 0:
        result.utility = utility_of(real, settings, out, arguments.utility, arguments.utility_steps)
        result.save(out)
    return result, out


def utility_of(real: dict[str, Any], settings: Any, out: Path, seeds: int, num_steps: int) -> list[dict[str, Any]]:
    """Train-on-synthetic test-on-real, by a small network or the pixel probe, from the pictures left in `out`."""

    from tqdm import tqdm

    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.probes import utility
    from brain_diffusion_jax.evaluation.study import sample_store, study
    from brain_diffusion_jax.evaluation.study.picture_sets import PictureSet
    from brain_diffusion_jax.models.deep_brain_net import make_age_network

    if "train" not in real:
        raise InputError("--utility", "training pictures", "none", "shards with a training split")
    path = out / f"utility_{seeds}x{num_steps}.json"
    if path.exists():
        return files.read_json(path, "utility", list)
    chosen, _ = study.choose_pictures(real, settings)
    synthetic = {
        sample_store.scale_name(scale): PictureSet(
            sample_store.read(out, scale), chosen.conditions, [f"synthetic {p}" for p in chosen.people]
        )
        for scale in settings.guidance_scales
    }
    trainer: utility.TrainFn = utility.pixel_trainer
    if num_steps:
        trainer = utility.network_trainer(
            lambda mean, spread: make_age_network(backbone="small_cnn", target_mean=mean, target_scale=spread),
            num_steps=num_steps,
        )
    with tqdm(total=seeds * (2 + 2 * len(synthetic)), desc="utility", disable=None) as bar:
        found = utility.utility(
            trainer,
            real["train"],
            synthetic,
            real[settings.evaluated],
            covariate=settings.age,
            seeds=range(seeds),
            progress=lambda name: bar.update(1),
        )
    files.write_json(path, found, indent=1)
    return found


def _barrier(name: str) -> None:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(f"study {name}")


def settings_from(arguments: argparse.Namespace, config: Any, model: Any, sampling: dict[str, Any]) -> Any:
    """StudySettings of the config with the command line's changes."""
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.study.study_settings import StudySettings

    section = config.study.to_dict()
    scales = section.pop("guidance_scales")
    if arguments.scales:
        try:
            scales = tuple(float(word) for word in arguments.scales.split(","))
        except ValueError:
            raise InputError(
                "command line", "--scales", arguments.scales, "numbers with commas, such as 1,3,5"
            ) from None
    given = {"num_samples": arguments.num, "evaluated": arguments.split, "seed": arguments.seed}
    return StudySettings(
        **{**section, **{k: v for k, v in given.items() if v is not None}},
        guidance_scales=tuple(float(s) for s in scales),
        batch_size=config.sample.batch_size,
        title=f"Study of {Path(arguments.run).name}",
        model=f"{model.version} {sampling}",
    )


def sampler(model: Any, batch_size: int, sampling: dict[str, Any]) -> Any:
    """The study's sample_fn; short chunks are filled up, so that one compiled program serves all."""

    def sample(conditions: list[dict[str, Any]], scale: float, seed: int) -> Any:
        filled = conditions + [conditions[-1]] * (batch_size - len(conditions))
        options = {"guidance_scale": scale, **sampling} if model.kind == "diffusion" else {}
        pictures = model.sample(filled, seed=seed, batch_size=batch_size, **options)
        return pictures[: len(conditions)]

    return sample


def load_regressor(path: str, contract: Any) -> Any:
    """The age model of a run at its best checkpoint; refuses one trained on other pictures."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.contract import require_same
    from brain_diffusion_jax.errors import InputError

    model = api.load(path)
    if not isinstance(model, api.AgeModel):
        raise InputError(path, "kind", model.kind, "age, a run of `brain-diffusion train-age`")
    if model.contract is not None and contract is not None:
        require_same(contract, model.contract, path, ignore=("slices",))
        # One that learned from more slices of the same heads reads these as well.
        cut, known = (set(c.slices.indices or ()) for c in (contract, model.contract))
        if not cut <= known:
            raise InputError(
                path, "slices", f"trained on {sorted(known)}", f"a regressor that knows {sorted(cut - known)}"
            )
    return model


def regressors(arguments: argparse.Namespace, contract: Any) -> tuple[list[Any], Any, Any]:
    """Extractors, the age function and the second one, from the command line."""
    from brain_diffusion_jax.evaluation.probes.features import Extractor
    from brain_diffusion_jax.evaluation.study import study

    if not arguments.age_model:
        return [study.pixel_extractor()], None, None
    model = load_regressor(arguments.age_model, contract)
    name = f"{model.config.age_model.backbone}-pool"
    extractor = Extractor(name, model.version, model.features)
    second = None
    if getattr(arguments, "second_age_model", None):
        second = load_regressor(arguments.second_age_model, contract).predict
    return [extractor, study.pixel_extractor()], model.predict, second


def check_inputs(arguments: argparse.Namespace, contract: Any, shards: str, split: str) -> list[str]:
    """Remarks where real scans of a split are unlike what --age-model (and the second) were trained on."""
    from brain_diffusion_jax.cli.input_checks import check_shards

    runs = [arguments.age_model, getattr(arguments, "second_age_model", None)]
    found = [check_shards(load_regressor(run, contract), shards, split) for run in runs if run]
    return [remark for remark in found if remark]


def class_extractors(arguments: argparse.Namespace, contract: Any) -> list[Any]:
    """The pooled features of --classifier as an extractor; refuses one for pictures of another size."""
    if not arguments.classifier:
        return []
    from brain_diffusion_jax.cli.train_class import load_classifier
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.probes.features import Extractor

    judge = load_classifier(arguments.classifier)
    if judge.image_size != tuple(contract.image_size):
        raise InputError(arguments.classifier, "image_size", judge.image_size, contract.image_size)
    return [Extractor(f"{judge.config.class_model.backbone}-class-pool", judge.version, judge.features)]


def inception_extractors(arguments: argparse.Namespace) -> list[Any]:
    """Extractors of the user's pytorch-fid weights; the file is verified first."""
    if not arguments.inception:
        return []
    from brain_diffusion_jax.conversion.inception import read_weights
    from brain_diffusion_jax.errors import InputError
    from brain_diffusion_jax.evaluation.probes.features import inception_extractor

    variables, version = read_weights(arguments.inception)
    try:
        dimensions = [int(word) for word in arguments.inception_dims.split(",")]
    except ValueError:
        raise InputError("command line", "--inception-dims", arguments.inception_dims, "64, 192, 768 or 2048") from None
    return [inception_extractor(variables, version, d) for d in dimensions]


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


def _summary(result: Any) -> str:
    """The main columns as text."""
    from brain_diffusion_jax.evaluation.report.figures import fd_metric
    from brain_diffusion_jax.evaluation.report.report_tables import number

    age = "age" if "age mae" in result.real.numbers else "age, second reader"
    metrics = [fd_metric(result.rows), "SSIM of pairs", *(f"{age} {m}" for m in ("mae", "rmse", "r"))]
    metrics = [m for m in [*metrics, "dark fraction spearman"] if any(m in row.numbers for row in result.rows)]
    widths = [max(len(m), 9) for m in metrics]
    lines = [" " * 20 + "".join(f"  {m:>{w}}" for m, w in zip(metrics, widths, strict=True))]
    for row in result.rows:
        cells = (number(row.numbers.get(m, {}).get("value")) for m in metrics)
        lines.append(f"{row.name:<20}" + "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    return "\n".join([*lines, *result.notes])
