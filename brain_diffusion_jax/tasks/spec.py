"""A kind of model is declared once: the TaskSpec in `tasks/<folder>/__init__.py`, which imports nothing heavy.

Beside it stand `task.py` (build, settings, loading), `model.py` (the class that opens a run) and, where a training
ends with a report, `report.py` (write, summary); they are imported on use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder.changes import Kept

if TYPE_CHECKING:
    import numpy as np

    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.training.settings import TrainSettings
    from brain_diffusion_jax.training.task import Task

# kind, as run folders say it: the package that declares it
TASKS = {
    "diffusion": "brain_diffusion_jax.tasks.diffusion",
    "age": "brain_diffusion_jax.tasks.age",
    "class": "brain_diffusion_jax.tasks.classifier",
    "gan": "brain_diffusion_jax.tasks.gan",
}


@dataclass(frozen=True)
class DataInfo:
    """What a task is told of the data. shards: their folder, "" where a run is only planned.

    validation: the held-out examples that the run is measured on, stacked; None where there are none.
    """

    schema: Schema
    image_size: tuple[int, ...]
    shards: str = ""
    validation: dict[str, np.ndarray] | None = None
    channels: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """(*image_size, channels): of one example."""
        return (*self.image_size, self.channels)


@dataclass(frozen=True)
class Loading:
    """How a task wants its examples. mirror: probability of a left-right flip. class_balance: the covariate whose
    classes come equally often, None: as they are.

    labelled: column of the covariate that validation examples must know, None: any example will do.
    validation_samples: at most so many are held out, evenly spaced.
    """

    mirror: float = 0.0
    class_balance: str | None = None
    labelled: int | None = None
    validation_samples: int = 2000


@dataclass(frozen=True)
class TaskSpec:
    """kind: of the run folder. package: of the declaration. section: of the config, where batch_size stands.

    suffix: of the default run folder. makes_images: from conditions; else it reads images. reports: a training ends
    with a report. kept: settings that a run keeps from its first step to its last. network: sections of the config
    that describe the network. steps: where their number stands. numbers: parts of the names of metrics that say how
    good it is. ranks: whether validation_loss orders checkpoints.
    use, output, example: what a model card says of it; {condition} in the example is one as JSON.
    """

    kind: str
    summary: str
    package: str
    section: str
    kept: Kept
    network: tuple[str, ...]
    steps: str
    makes_images: bool
    use: str
    output: str
    example: str
    suffix: str = ""
    reports: bool = False
    numbers: tuple[str, ...] = ("loss",)
    ranks: bool = True

    def build(self, config: Any, data: DataInfo) -> Task:
        """What the loop trains. Settings that follow from the data enter `config`."""
        return self._module("task").build(config, data)  # type: ignore[no-any-return]

    def settings(self, config: Any) -> TrainSettings:
        """The loop's settings."""
        return self._module("task").settings(config)  # type: ignore[no-any-return]

    def loading(self, config: Any, schema: Schema) -> Loading:
        """How its examples are drawn."""
        return self._module("task").loading(config, schema)  # type: ignore[no-any-return]

    @property
    def model(self) -> type[Any]:
        """The class that opens a run of this kind."""
        return self._module("model").MODEL  # type: ignore[no-any-return]

    @property
    def report(self) -> Any:
        """Module with write(run, shards) -> results and summary(results, run) -> text; only where `reports`."""
        return self._module("report")

    def _module(self, name: str) -> Any:
        return import_module(f"{self.package}.{name}")


def spec(kind: str, where: object = "config") -> TaskSpec:
    """The declaration of a kind; InputError for an unknown one, found in `where`."""
    if kind not in TASKS:
        raise InputError(where, "kind", kind, " or ".join(TASKS))
    return import_module(TASKS[kind]).SPEC  # type: ignore[no-any-return]


def spec_of(items: Mapping[str, Any], where: object) -> TaskSpec:
    """The declaration of the kind that a config.json names; one without a kind is of a diffusion model."""
    return spec(items.get("kind", "diffusion"), where)
