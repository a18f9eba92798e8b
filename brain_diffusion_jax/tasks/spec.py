"""A kind of model is declared once: the TaskSpec in `tasks/<folder>/__init__.py`, which imports nothing heavy.

Beside it stand `config.py` (CONFIG, the dataclass of its settings), `task.py` (build, settings, loading; resolve where
settings follow from the data, shards where it learns from others than those of the images, finish where a training
ends with more than weights), `model.py` (MODEL, the class that opens a run) and, where a training ends with a
report, `report.py` (write, summary); they are imported on use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ml_collections import ConfigDict

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.training.run_folder.changes import Kept

if TYPE_CHECKING:
    import numpy as np

    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.tasks.model import Model
    from brain_diffusion_jax.tasks.run_config import RunConfig
    from brain_diffusion_jax.training.settings import TrainSettings
    from brain_diffusion_jax.training.task import Task

C = TypeVar("C", bound="RunConfig")

# kind, as config files and run folders say it: the package that declares it
TASKS = {
    "diffusion": "brain_diffusion_jax.tasks.diffusion",
    "age": "brain_diffusion_jax.tasks.age",
    "class": "brain_diffusion_jax.tasks.classifier",
    "gan": "brain_diffusion_jax.tasks.gan",
    "autoencoder": "brain_diffusion_jax.tasks.autoencoder",
    "latent_diffusion": "brain_diffusion_jax.tasks.latent_diffusion",
}


@dataclass(frozen=True)
class DataInfo:
    """What a task knows of the data. shards: their folder, "" where a run is only planned.

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
    """How a task wants its examples. batch_size: of all devices together. mirror: probability of a left-right flip.

    class_balance: the covariate whose classes come equally often, None: as they are.
    labelled: column of the covariate that validation examples must know, None: any example will do.
    validation_samples: at most so many are held out, evenly spaced.
    """

    batch_size: int
    mirror: float = 0.0
    class_balance: str | None = None
    labelled: int | None = None
    validation_samples: int = 2000


class Report(Protocol):
    """The module `report` of a kind whose training ends with one."""

    def write(self, run: Path, shards: str) -> dict[str, Any]:
        """Measure the best checkpoint and write the results into the run folder."""
        ...

    def summary(self, result: dict[str, Any], run: Path) -> str:
        """The results as text."""
        ...


@dataclass(frozen=True)
class TaskSpec(Generic[C]):
    """kind: of the run folder. package: of the declaration. section: of the config, where batch_size stands.

    suffix: of the default run folder. makes_images: from conditions; else it reads images. reports: a training ends
    with a report. kept: settings that a run keeps from its first step to its last. numbers: parts of the
    names of metrics that say how good it is. ranks: whether validation_loss orders checkpoints.
    network: sections of the config that describe the network, by default `section`. steps: where their number stands,
    by default `section`.num_steps.
    use, output, example: what a model card says of it; {condition} in the example is one as JSON.
    """

    kind: str
    summary: str
    package: str
    section: str
    kept: Kept
    makes_images: bool
    use: str
    output: str
    example: str
    suffix: str = ""
    reports: bool = False
    numbers: tuple[str, ...] = ("loss",)
    ranks: bool = True
    network: tuple[str, ...] = ()
    steps: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", self.network or (self.section,))
        object.__setattr__(self, "steps", self.steps or f"{self.section}.num_steps")

    @property
    def config(self) -> type[C]:
        """The dataclass of its settings."""
        return self._module("config").CONFIG  # type: ignore[no-any-return]

    def read(self, config: ConfigDict) -> C:
        """The settings in a ConfigDict, of which this kind may read a part. Raises InputError for what cannot be."""
        own = configs.kind_config(config, self.kind).to_dict()
        return configs.build(self.config, {k: v for k, v in own.items() if k != "kind"})

    def record(self, config: C) -> dict[str, Any]:
        """The settings as config.json holds them."""
        whole = configs.section(config)
        whole.kind = self.kind
        return configs.to_json(whole)

    def resolve(self, config: C, data: DataInfo) -> C:
        """The settings with those that follow from the data or from another run."""
        module = self._module("task")
        return module.resolve(config, data) if hasattr(module, "resolve") else config

    def shards(self, config: C, data: DataInfo) -> str:
        """The folder that batches are read from: data.shards, or what the kind makes of it. config: of `resolve`."""
        module = self._module("task")
        return module.shards(config, data) if hasattr(module, "shards") else data.shards

    def stored(self, config: C, data: DataInfo) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of the stored images of those batches, before any is there. config: of `resolve`."""
        module = self._module("task")
        return module.stored(config, data) if hasattr(module, "stored") else (data.shape, "uint8")

    def finish(self, run: Path, data: DataInfo) -> None:
        """What the first process adds to a run whose steps are all done."""
        module = self._module("task")
        if hasattr(module, "finish"):
            module.finish(run, data)

    def build(self, config: C, data: DataInfo) -> Task:
        """What the loop trains. config: of `resolve`."""
        return self._module("task").build(config, data)  # type: ignore[no-any-return]

    def settings(self, config: C) -> TrainSettings:
        """The loop's settings."""
        return self._module("task").settings(config)  # type: ignore[no-any-return]

    def loading(self, config: C, schema: Schema) -> Loading:
        """How its examples are drawn."""
        return self._module("task").loading(config, schema)  # type: ignore[no-any-return]

    @property
    def model(self) -> type[Model]:
        """The class that opens a run of this kind."""
        return self._module("model").MODEL  # type: ignore[no-any-return]

    @property
    def report(self) -> Report:
        """What a training ends with; only where `reports`."""
        return self._module("report")

    def _module(self, name: str) -> ModuleType:
        return import_module(f"{self.package}.{name}")


def spec(kind: str, where: object = "config") -> TaskSpec[RunConfig]:
    """The declaration of a kind; InputError for an unknown one, found in `where`."""
    if kind not in TASKS:
        raise InputError(where, "kind", kind, " or ".join(TASKS))
    return import_module(TASKS[kind]).SPEC  # type: ignore[no-any-return]


def spec_of(items: Mapping[str, Any] | ConfigDict, where: object) -> TaskSpec[RunConfig]:
    """The declaration of the kind that a config names; one without a kind is of a diffusion model."""
    return spec(items.get("kind") or "diffusion", where)
