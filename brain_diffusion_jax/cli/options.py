"""Groups of options that several commands share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from brain_diffusion_jax.cli.parsing import OptionGroup, option, seed
from brain_diffusion_jax.errors import InputError

if TYPE_CHECKING:
    from brain_diffusion_jax.api import AgeModel, DiffusionModel, GanModel, Generator
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.data.bids import Contrast
    from brain_diffusion_jax.diffusion.sampling import Sampling
    from brain_diffusion_jax.evaluation.probes.features import Extractor


class WeightOptions(OptionGroup):
    """Which weights of a run."""

    checkpoint: int | None = option("step to load (default: the newest)")
    no_ema: bool = option("the raw parameters instead of the averaged ones", False)

    @property
    def weights(self) -> dict[str, Any]:
        """Arguments of `api.load`."""
        return {"step": self.checkpoint, "ema": not self.no_ema}

    @overload
    def load(self, run: str, kind: Literal["diffusion"]) -> DiffusionModel: ...
    @overload
    def load(self, run: str, kind: Literal["age"]) -> AgeModel: ...
    @overload
    def load(self, run: str, kind: Literal["generator"]) -> DiffusionModel | GanModel: ...
    def load(self, run: str, kind: Any) -> Any:
        """`api.load` of a run of that kind with these weights, after JAX was set up for this machine."""
        from brain_diffusion_jax import api
        from brain_diffusion_jax.training.devices import host

        host.prepare()
        return api.load(run, kind, **self.weights)


class OutputOptions(WeightOptions):
    """What `sample` and `sweep` share. batch: None is the config's."""

    out: str = option("folder to write (new, or --resume; default: one in the run folder)")
    batch: int | None = option("images at once (default: the config's)")
    resume: bool = option("go on with an interrupted folder, if weights and settings are the same", False)
    json: bool = option("print a JSON summary", False)


class SamplingOptions(OutputOptions):
    """How images are drawn; None is the run's config."""

    sampler: str | None = option("default: the config's")
    steps: int | None = option("sampling steps (default: the config's)")
    eta: float | None = option("0 deterministic, 1 ancestral, for samplers that have it")
    spacing: str | None = option("how steps are spread over the schedule (default: the config's)")
    seed: int = option("same seed, same images (default 0)", 0, type=seed)
    guidance: float | None = option("guidance scale; 1 is off, 0 unconditional (default: config)")
    memory_gib: float | None = option("decode latents in slabs where an image takes more (default: config)")

    def resolve(self, model: Generator) -> Sampling:
        """The model's settings with what was given; refuses what means nothing to it."""
        refuse_unguided(model, self, "guidance", "steps", "sampler", "eta", "spacing")
        return model.sampling(
            sampler=self.sampler,
            num_steps=self.steps,
            eta=self.eta,
            spacing=self.spacing,
            guidance_scale=self.guidance,
            batch_size=self.batch,
        )


def decode_within(model: Any, gib: float | None) -> None:
    """Set codec.memory_gib of a model that was loaded for this call (None: leave it); refuses one without a codec."""
    from brain_diffusion_jax.config import changed

    if gib is None:
        return
    if model.kind != "latent_diffusion":
        raise InputError(model.path, "--memory-gib", gib, f"not given: a {model.kind} decodes no latents")
    model.config = changed(model.config, [f"codec.memory_gib={gib}"])


class ContrastOptions(OptionGroup):
    """What BIDS asks of the scans that a model learned from, and what no contract says."""

    suffix: str | None = option("their contrast as BIDS names it: T1w, T2w, FLAIR ... (default T1w)")
    with_skull: bool = option("they have their skulls on (default: stripped)", False)

    @property
    def contrast(self) -> Contrast:
        """Both; InputError for a suffix that BIDS does not know."""
        from brain_diffusion_jax.data.bids import Contrast

        usual = Contrast()
        return Contrast(self.suffix or usual.suffix, usual.skull_stripped and not self.with_skull)


def refuse_unguided(model: Generator, options: object, *names: str) -> None:
    """Raise InputError for options that were given but mean nothing to a model without steps."""
    for name in names:
        value = getattr(options, name)
        if value not in (None, False) and not model.guided:
            expected = f"not given: a {model.kind} makes an image in one step"
            typed = ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else value
            raise InputError(model.path, f"--{name}", typed, expected)


class ConditionOptions(OptionGroup):
    """Which conditions images are made of. set: words of every --set."""

    set: tuple[list[str], ...] = option(
        "a condition, e.g. --set age=70 sex=F slice=45; repeat for several; age=20,40 means both; "
        "what is left out is unconditional",
        (),
        action="append",
        nargs="+",
        metavar="NAME=VALUE",
    )
    conditions: Path | None = option("a CSV or TSV with one condition a row (columns: the covariates)", metavar="CSV")
    each: int = option("images per condition (default 1)", 1, metavar="N")

    def read(self, schema: Schema) -> list[dict[str, Any]]:
        """All conditions, typed and in order; {} (unconditional) if none was named.

        Raises InputError for unknown covariates and values before anything is sampled.
        """
        from brain_diffusion_jax.data import condition_table

        if self.each < 1:
            raise InputError("--each", "N", self.each, "1 or more")
        found = [("--set", c) for words in self.set for c in parse_set(words)]
        if self.conditions:
            found += condition_table.read_conditions(self.conditions, schema)
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


class PredictorOptions(OptionGroup):
    """What reads images: a regressor of age, and networks of others by the user's weights files or a package."""

    age_model: str | None = option("run folder of a regressor: reads ages, and its features are compared")
    inception: str | None = option("pytorch-fid's weights file, for FD[inception-...] of slices")
    inception_dims: tuple[int, ...] = option("64, 192, 768 or 2048, several with commas (default 768)", (768,))
    medicalnet: str | None = option("weights file of MedicalNet, for FD[medicalnet50] and the like of volumes")
    deepbet: bool = option("FD[deepbet] of volumes; needs the extra `deepbet`", False)

    def extractors(self) -> list[Extractor]:
        """Extractors of the weights files, which are verified first; none without one."""
        if not (self.inception or self.medicalnet or self.deepbet):
            return []
        from brain_diffusion_jax.api import extractors

        return extractors.extractors(
            inception=self.inception,
            inception_dims=self.inception_dims,
            medicalnet=self.medicalnet,
            deepbet=self.deepbet,
        )
