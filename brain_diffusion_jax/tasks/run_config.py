"""What the config of every kind holds, and what the config of every kind that makes images holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from brain_diffusion_jax.data.shards.settings import Shards
from brain_diffusion_jax.diffusion.sampling import GeneratorSettings
from brain_diffusion_jax.evaluation.study.study_settings import StudyConfig
from brain_diffusion_jax.training.settings import SharedSettings


@dataclass(frozen=True)
class RunConfig:
    """name: of the run, and of its default folder. seed: of every random draw of the training.

    data, train: a kind that reads more of a section has a subclass of its dataclass there.
    """

    name: str = "run"
    seed: int = 0
    data: Shards = field(default_factory=Shards)
    train: SharedSettings = field(default_factory=SharedSettings)


@dataclass(frozen=True)
class GeneratorConfig(RunConfig):
    """sample, study: how the trained model is used where the command line does not say."""

    sample: GeneratorSettings = field(default_factory=GeneratorSettings)
    study: StudyConfig = field(default_factory=StudyConfig)
