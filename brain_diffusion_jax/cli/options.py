"""Options that several commands share. Each group is parsed once into a frozen dataclass."""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.seeds import COUNT, EXPECTED

if TYPE_CHECKING:
    from brain_diffusion_jax.api import Generator
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.diffusion.sampling import Sampling
    from brain_diffusion_jax.evaluation.probes.features import Extractor


def seed(text: str) -> int:
    """The seed that `text` means, for argparse (`type=seed`); raises ArgumentTypeError for others."""
    if not (text.isdecimal() and text.isascii() and len(text) < 20 and int(text) < COUNT):
        raise argparse.ArgumentTypeError(f"found {text:.40}; expected {EXPECTED}")
    return int(text)


class Options:
    """A group of options: a dataclass whose fields are the names that argparse gives them."""

    @classmethod
    def of(cls, arguments: argparse.Namespace):
        """The group as it was parsed."""
        return cls(**{field.name: getattr(arguments, field.name) for field in fields(cls)})  # type: ignore[arg-type]


@contextlib.contextmanager
def bar_of(unit: str, **settings: Any) -> Iterator[Callable[[int, int], None]]:
    """A progress bar as a function (done, total), silent where no terminal looks on."""
    from tqdm import tqdm

    with tqdm(unit=unit, **{"disable": None, **settings}) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Which weights of a run."""
    parser.add_argument("--checkpoint", type=int, help="step to load (default: the newest)")
    parser.add_argument("--no-ema", action="store_true", help="the raw parameters instead of the averaged ones")


def open_model(run: str | Path, kind: Any, arguments: argparse.Namespace | None = None) -> Any:
    """`api.load` of a run of that kind, with the options of `add_weights`, after JAX is told of this machine."""
    from brain_diffusion_jax import api
    from brain_diffusion_jax.training.devices import host

    host.prepare()
    step, raw = getattr(arguments, "checkpoint", None), getattr(arguments, "no_ema", False)
    return api.load(run, kind, step=step, ema=not raw)


@dataclass(frozen=True)
class OutputOptions(Options):
    """What `sample` and `sweep` share. batch: None is the config's."""

    out: str
    batch: int | None
    checkpoint: int | None
    no_ema: bool
    resume: bool
    json: bool

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--out", required=True, help="folder to write (new, or --resume)")
        parser.add_argument("--batch", type=int, help="pictures at once (default: the config's)")
        add_weights(parser)
        parser.add_argument(
            "--resume",
            action="store_true",
            help="go on with an interrupted folder, if weights and settings are the same",
        )
        parser.add_argument("--json", action="store_true", help="print a JSON summary")


@dataclass(frozen=True)
class SamplingOptions(Options):
    """How pictures are drawn; None is the run's config."""

    sampler: str | None
    steps: int | None
    eta: float | None
    spacing: str | None
    guidance: float | None
    batch: int | None

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--sampler", help="default: the config's")
        parser.add_argument("--steps", type=int, help="sampling steps (default: the config's)")
        parser.add_argument("--eta", type=float, help="0 deterministic, 1 ancestral, for samplers that have it")
        parser.add_argument("--spacing", help="how steps are spread over the schedule (default: the config's)")
        parser.add_argument("--seed", type=seed, default=0, help="same seed, same pictures (default 0)")
        parser.add_argument(
            "--guidance", type=float, help="guidance scale; 1 is off, 0 unconditional (default: config)"
        )

    def resolve(self, model: Generator) -> Sampling:
        """The model's settings with what was given; refuses what means nothing to it."""
        refuse_unguided(
            model,
            {k: getattr(self, k) for k in ("guidance", "steps", "sampler", "eta", "spacing")},
        )
        return model.sampling(
            sampler=self.sampler,
            num_steps=self.steps,
            eta=self.eta,
            spacing=self.spacing,
            guidance_scale=self.guidance,
            batch_size=self.batch,
        )


def refuse_unguided(model: Generator, given: dict[str, Any]) -> None:
    """Raise InputError for options that were given but mean nothing to a model without steps."""
    for name, value in given.items():
        if value not in (None, False) and not model.guided:
            raise InputError(model.path, f"--{name}", value, f"not given: a {model.kind} makes a picture in one step")


@dataclass(frozen=True)
class ConditionOptions(Options):
    """What pictures are asked for. set: words of every --set; each: pictures per condition."""

    set: list[list[str]]
    conditions: str | None
    each: int

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--set",
            action="append",
            nargs="+",
            default=[],
            metavar="NAME=VALUE",
            help="a condition, e.g. --set age=70 sex=F slice=45; repeat for several; age=20,40 means both; "
            "what is left out is unconditional",
        )
        parser.add_argument(
            "--conditions", metavar="CSV", help="a CSV or TSV with one condition a row (columns: the covariates)"
        )
        parser.add_argument("--each", type=int, default=1, metavar="N", help="pictures per condition (default 1)")

    def read(self, schema: Schema) -> list[dict[str, Any]]:
        """All conditions asked for, typed and in order; {} (unconditional) if none was named.

        Raises InputError for unknown covariates and values before anything is sampled.
        """
        from brain_diffusion_jax.data import condition_table

        if self.each < 1:
            raise InputError("--each", "N", self.each, "1 or more")
        found = [("--set", c) for words in self.set for c in parse_set(words)]
        if self.conditions:
            found += condition_table.read_conditions(Path(self.conditions), schema)
        typed = [condition_table.typed(condition, schema, where) for where, condition in found] or [{}]
        return [c for c in typed for _ in range(self.each)]


def parse_set(words: Sequence[str]) -> list[dict[str, str]]:
    """["age=20,40", "sex=F"] -> [{"age": "20", "sex": "F"}, {"age": "40", "sex": "F"}]."""
    choices: dict[str, list[str]] = {}
    for word in words:
        name, separator, value = word.partition("=")
        values = [v.strip() for v in value.split(",")]
        if not separator or not all(values):  # as an empty shell variable leaves it
            raise InputError("--set", name, repr(word), "name=value, or name=value,value")
        if name in choices:
            raise InputError("--set", name, "given twice", "each covariate once (age=20,40 for two values)")
        choices[name] = values
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


@dataclass(frozen=True)
class PredictorOptions(Options):
    """What reads pictures: a regressor of age, and Inception by the user's pytorch-fid weights."""

    age_model: str | None
    inception: str | None
    inception_dims: str

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--age-model", help="run folder of a regressor: reads ages, and its features are compared")
        parser.add_argument("--inception", help="pytorch-fid's weights file, for FD[inception-...]")
        parser.add_argument("--inception-dims", default="768", help="64, 192, 768 or 2048, several with commas")

    def inception_extractors(self) -> list[Extractor]:
        """Extractors of the weights file, which is verified first; none without one."""
        if not self.inception:
            return []
        from brain_diffusion_jax.conversion.inception import read_weights
        from brain_diffusion_jax.evaluation.probes.features import inception_extractor

        variables, version = read_weights(self.inception)
        try:
            dimensions = [int(word) for word in self.inception_dims.split(",")]
        except ValueError:
            expected = "64, 192, 768 or 2048"
            raise InputError("command line", "--inception-dims", self.inception_dims, expected) from None
        return [inception_extractor(variables, version, d) for d in dimensions]
