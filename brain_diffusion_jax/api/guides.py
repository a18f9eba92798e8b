"""What guidance rules of a sweep need besides numbers: a weaker model, or a predictor of the age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_diffusion_jax.api.loading import load
from brain_diffusion_jax.api.predictors import load_regressor
from brain_diffusion_jax.contract import require_same
from brain_diffusion_jax.diffusion.plan import SamplingConfig
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.age.model import AgeModel
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel
from brain_diffusion_jax.training.averages import power_ema


def scale_text(scale: float | tuple[float, ...]) -> float | str:
    """A guidance scale for tables; 3:1:1 is one for each covariate."""
    return ":".join(f"{w:g}" for w in scale) if isinstance(scale, tuple) else scale


@dataclass(frozen=True)
class Guides:
    """weak: of autoguidance, with its name: a run folder or an average of the run's weights.

    predictor: of classifier_gradient, an age model, with its run folder. std: how exactly its ages are believed, in
    years.
    """

    weak: DiffusionModel | None = None
    weak_name: str | None = None
    predictor: AgeModel | None = None
    predictor_name: str | None = None
    std: float = 5.0

    @classmethod
    def load(
        cls,
        model: DiffusionModel,
        weak: str | None = None,
        predictor: str | None = None,
        std: float = 5.0,
        checkpoint: int | None = None,
    ) -> Guides:
        """The guides of a model, each checked to fit it. checkpoint: of an average of its weights."""
        if not std > 0:
            raise InputError("command line", "--judge-std", std, "years, above 0")
        return cls(
            _weaker(model, weak, checkpoint) if weak else None,
            weak,
            load_regressor(predictor, model.contract) if predictor else None,
            predictor,
            std,
        )

    def check(self, configs: Sequence[SamplingConfig], model: DiffusionModel) -> None:
        """InputError where a rule lacks what it needs, or a guide is given that no rule of the sweep takes."""
        names = model.schema.names
        for config in configs:
            each = config.guidance_scale if isinstance(config.guidance_scale, tuple) else ()
            if config.guidance == "per_covariate" and len(each) != len(names):
                expected = f"{':'.join('3' * len(names))}, one a covariate: {', '.join(names)}"
                raise InputError("command line", "--scales of per_covariate", config.guidance_scale, expected)
            if config.guidance != "per_covariate" and each:
                raise InputError("command line", f"--scales of {config.guidance}", config.guidance_scale, "one number")
        rules = {config.guidance for config in configs}
        for option, rule, guide in (
            ("--weak", "autoguidance", self.weak),
            ("--judge", "classifier_gradient", self.predictor),
        ):
            if guide is None and rule in rules:
                raise InputError("command line", option, "nothing", f"what {rule} needs")
            if guide is not None and rule not in rules:
                raise InputError("command line", option, "given", f"--guidance-rules {rule}")

    def record(self) -> dict[str, Any]:
        """For the record of each folder; the keys are those of release 0.1."""
        found: dict[str, Any] = {}
        if self.weak is not None:
            found |= {"weak": self.weak_name, "weak_weights": self.weak.version}
        if self.predictor is not None:
            found |= {"judge": self.predictor_name, "judge_weights": self.predictor.version, "judge_std": self.std}
        return found

    def fixed(self, model: DiffusionModel) -> dict[str, dict[str, Any]]:
        """`fixed` of `plan.run_configs`, by rule."""
        found: dict[str, dict[str, Any]] = {}
        if self.weak is not None:
            found["autoguidance"] = {"weak": self.weak.denoise}
        if self.predictor is not None:
            likelihood = self.predictor.likelihood(model.schema, model.codec, self.std)
            found["classifier_gradient"] = {"log_likelihood": likelihood}
        return found


def _weaker(model: DiffusionModel, name: str, checkpoint: int | None) -> DiffusionModel:
    if not Path(name).is_dir():
        return averaged(model, name, checkpoint, "--weak")
    weak = load(name, "diffusion")
    if model.contract is not None and weak.contract is not None:
        require_same(model.contract, weak.contract, f"{name} against {model.path}")
    for field in ("schedule", "num_train_steps", "data_range"):
        mine, other = getattr(model.process, field), getattr(weak.process, field)
        if mine != other:
            raise InputError(name, f"diffusion.{field}", other, f"{mine}, as the model it guides")
    mine, other = (getattr(one.config, "codec", None) for one in (model, weak))
    if (mine and mine.identity) != (other and other.identity):
        raise InputError(name, "codec", other and other.identity, f"{mine and mine.identity}, as the model it guides")
    return weak


def averaged(
    model: DiffusionModel, length: str, checkpoint: int | None, option: str = "--ema-lengths"
) -> DiffusionModel:
    """The model with an average of its weights: stored, none, or a relative width (`training.averages.power_ema`)."""
    if length in ("stored", "none"):
        return load(model.path, "diffusion", step=checkpoint, ema=length == "stored")
    try:
        width = float(length)
    except ValueError:
        raise InputError("command line", option, length, "stored, none or a number such as 0.05") from None
    return model.with_params(power_ema.reconstruct(model.path, width, checkpoint))
