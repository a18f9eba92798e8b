"""What guidance rules of a sweep need besides numbers: a weaker model, a judge, one scale a covariate."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brain_diffusion_jax.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weak",
        metavar="MODEL",
        help="of autoguidance: the weaker model, a run folder or an average of this run's weights as in --ema-lengths",
    )
    parser.add_argument("--judge", metavar="RUN", help="of classifier_gradient: the run folder of an age regressor")
    parser.add_argument(
        "--judge-std", type=float, default=5.0, metavar="YEARS", help="how exactly the judge is believed (default 5)"
    )


def scales_from(text: str) -> list[float | tuple[float, ...]]:
    """Scales separated by commas; 3:1:1 is one for each covariate."""
    found: list[float | tuple[float, ...]] = []
    try:
        for word in filter(None, text.split(",")):
            parts = tuple(float(part) for part in word.split(":"))
            found.append(parts if len(parts) > 1 else parts[0])
    except ValueError:
        expected = "numbers separated by commas, 3:1:1 for one scale a covariate"
        raise InputError("command line", "--scales", repr(text), expected) from None
    return found


def scale_text(scale: float | tuple[float, ...]) -> float | str:
    """A scale as `scales_from` reads it, for tables."""
    return ":".join(f"{w:g}" for w in scale) if isinstance(scale, tuple) else scale


def check(arguments: argparse.Namespace, cells: Sequence[Any], model: Any) -> None:
    """InputError where a rule lacks what it needs, or is given what no rule of the sweep takes."""
    names = model.schema.names
    for cell in cells:
        each = isinstance(cell.guidance_scale, tuple)
        if cell.guidance == "per_covariate" and (not each or len(cell.guidance_scale) != len(names)):
            expected = f"{':'.join('3' * len(names))}, one a covariate: {', '.join(names)}"
            raise InputError("command line", "--scales of per_covariate", cell.guidance_scale, expected)
        if cell.guidance != "per_covariate" and each:
            raise InputError("command line", f"--scales of {cell.guidance}", cell.guidance_scale, "one number")
    rules = {cell.guidance for cell in cells}
    for option, rule in (("weak", "autoguidance"), ("judge", "classifier_gradient")):
        given = getattr(arguments, option) is not None
        if given != (rule in rules):
            found, expected = ("given", f"--guidance-rules {rule}") if given else ("nothing", f"what {rule} needs")
            raise InputError("command line", f"--{option}", found, expected)
    if not arguments.judge_std > 0:
        raise InputError("command line", "--judge-std", arguments.judge_std, "years, above 0")


def models_of(arguments: argparse.Namespace, model: Any) -> dict[str, Any]:
    """The weak model and the judge that were asked for, by option."""
    found: dict[str, Any] = {}
    if arguments.weak:
        found["weak"] = _weaker(arguments, model)
    if arguments.judge:
        from brain_diffusion_jax.api.predictors import load_regressor

        found["judge"] = load_regressor(arguments.judge, model.contract)
    return found


def settings_of(arguments: argparse.Namespace, models: dict[str, Any]) -> dict[str, Any]:
    """For the record of each cell."""
    std = {"judge_std": arguments.judge_std} if "judge" in models else {}
    named = {name: getattr(arguments, name) for name in models}
    return named | {f"{name}_weights": guide.version for name, guide in models.items()} | std


def fixed_of(arguments: argparse.Namespace, model: Any, models: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`fixed` of `plan.run_configs`, by rule."""
    found: dict[str, dict[str, Any]] = {}
    if "weak" in models:
        found["autoguidance"] = {"weak": models["weak"].denoise}
    if "judge" in models:
        likelihood = models["judge"].likelihood(model.schema, model.process, arguments.judge_std)
        found["classifier_gradient"] = {"log_likelihood": likelihood}
    return found


def _weaker(arguments: argparse.Namespace, model: Any) -> Any:
    if not Path(arguments.weak).is_dir():
        return averaged(model, arguments.weak, arguments.checkpoint, "--weak")
    from brain_diffusion_jax import api
    from brain_diffusion_jax.contract import require_same

    weak = api.load(arguments.weak, "diffusion")
    if model.contract is not None and weak.contract is not None:
        require_same(model.contract, weak.contract, f"{arguments.weak} against {model.path}")
    for name in ("schedule", "num_train_steps", "data_range"):
        mine, other = getattr(model.process, name), getattr(weak.process, name)
        if mine != other:
            raise InputError(arguments.weak, f"diffusion.{name}", other, f"{mine}, as the model it guides")
    return weak


def averaged(model: Any, length: str, checkpoint: int | None, option: str = "--ema-lengths") -> Any:
    """The model with an average of its weights: stored, none, or a relative width (`training.averages.power_ema`)."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.training.averages import power_ema

    if length in ("stored", "none"):
        return api.load(model.path, step=checkpoint, ema=length == "stored")
    try:
        width = float(length)
    except ValueError:
        raise InputError("command line", option, length, "stored, none or a number such as 0.05") from None
    return model.with_params(power_ema.reconstruct(model.path, width, checkpoint))
