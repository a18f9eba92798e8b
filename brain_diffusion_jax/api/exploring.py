"""An explorer of a diffusion model: pictures of a grid of conditions on common noise, as one HTML page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.api.predictors import load_regressor
from brain_diffusion_jax.data.prepare import head_volumes
from brain_diffusion_jax.diffusion import plan
from brain_diffusion_jax.diffusion.plan import SamplingConfig
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.explore import axes as sliders
from brain_diffusion_jax.evaluation.explore.axes import Axes
from brain_diffusion_jax.evaluation.explore.page import Reading, Story, frames_of, most_bytes, write_page
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.metrics import anatomy, memorisation
from brain_diffusion_jax.evaluation.study import real_people
from brain_diffusion_jax.pixels import to_uint8, to_unit
from brain_diffusion_jax.tasks.diffusion.model import DiffusionModel

MOST = 512  # pictures
MOST_BYTES = 15_000_000  # of a page, where its pictures compress not at all


@dataclass(frozen=True)
class Wish:
    """What the sliders are to have; what is empty is chosen.

    values: of covariates. limit: of pictures (None: MOST, or what MOST_BYTES holds). num_steps, sampler: of `sampling`.
    """

    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    scales: Sequence[float] = ()
    seeds: Sequence[int] = ()
    limit: int | None = None
    sampler: str | None = None
    num_steps: int | None = None


@dataclass(frozen=True)
class Plan:
    """What will be made. bytes: of the page at most, seconds: about (None: not estimated)."""

    axes: Axes
    configs: tuple[SamplingConfig, ...]
    bytes: int
    seconds: float | None = None

    def text(self) -> str:
        """One line for the user before the work begins."""
        taken = "" if self.seconds is None else f", about {_duration(self.seconds)}"
        size = f"at most {self.bytes / 1e6:.1f} MB"
        rest = f"; left out: {', '.join(self.axes.left_out)}" if self.axes.left_out else ""
        return f"{self.axes.text()} = {self.axes.count} pictures{taken}, {size}{rest}"


@dataclass(frozen=True)
class Readers:
    """What reads the pictures. age_model: a run folder; data: shards (None: those of the run, where they are)."""

    age_model: str | Path | None = None
    data: str | Path | None = None


def plan_of(model: DiffusionModel, wish: Wish) -> Plan:
    """The sliders of an explorer and its sampling configurations; refuses more pictures than the limit."""
    sampling = model.sampling(sampler=wish.sampler, num_steps=wish.num_steps)
    each = most_bytes(model.image_shape())
    if wish.limit is not None and wish.limit < 1:
        raise InputError("command line", "--limit", wish.limit, "1 or more")
    limit = min(MOST, max(1, MOST_BYTES // each)) if wish.limit is None else wish.limit
    study = model.config.study.guidance_scales
    if model.conditional:
        schema, scales, seeds = model.schema, study, wish.seeds or (0,)
    else:  # guidance means nothing, and there is nothing to slide but the seed
        schema, scales, seeds = type(model.schema)(()), (), wish.seeds or tuple(range(sliders.NUMBERS))
    for name in wish.values:
        schema[name]
    found = sliders.choose(
        schema,
        model.contract,
        scales,
        sampling.guidance_scale if model.conditional else 1.0,
        limit,
        given=wish.values,
        given_scales=wish.scales,
        seeds=seeds,
    )
    plain = sampling.config()
    configs = [
        replace(plain, guidance_scale=scale, seed=seed) for scale in found.scales.values for seed in found.seeds.values
    ]
    return Plan(found, tuple(configs), found.count * each)


def timed(model: DiffusionModel, planned: Plan) -> Plan:
    """The plan with its seconds, from one step of one picture that is sampled and decoded now; compiles that."""
    first = planned.configs[0]
    condition = planned.axes.conditions()[:1]
    scale = max(float(config.guidance_scale) for config in planned.configs)  # type: ignore[arg-type]
    one = SamplingConfig("ddim", 1, guidance_scale=scale)
    latent = jnp.zeros((1, *model.codec.latent_shape(model.image_shape())))

    def seconds(work: Callable[[], Any]) -> float:
        work()  # compiles
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    whole = seconds(lambda: list(model.sample_configs(condition, [one])))
    decoding = seconds(lambda: model.decoded(latent))
    calls = plan.network_calls(first, model.process.table)
    return replace(planned, seconds=planned.axes.count * (max(whole - decoding, 0) * calls + decoding))


def pictures(
    model: DiffusionModel,
    planned: Plan,
    *,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "n *spatial c"]:
    """Images in [0, 1] in the order of `Axes.all`; every condition has the noise of the first one of `sample`."""
    wanted = planned.axes.conditions()
    tell, total = progress or (lambda done, total: None), planned.axes.count
    tell(0, total)
    parts = []
    for first, images in model.sample_configs(
        wanted, planned.configs, batch_size=batch_size, positions=[0] * len(wanted)
    ):
        parts.append(images)
        tell(min(first + images.shape[1], len(wanted)) * len(planned.configs), total)
    found = np.concatenate(parts, axis=1).swapaxes(0, 1)  # [conditions, configurations, ...]
    return found.reshape(total, *found.shape[2:])


def readings_of(
    model: DiffusionModel, images: Float[np.ndarray, "n *spatial c"], readers: Readers
) -> tuple[list[Reading], list[str]]:
    """(what is read off the pictures as the page shows them, notes on what is not)."""
    shown = to_unit(to_uint8(images))
    found: list[Reading] = []
    notes: list[str] = []
    if readers.age_model is not None:
        judge = load_regressor(readers.age_model, model.contract)
        target = judge.config.age_model.target
        unit = getattr(model.schema[target], "unit", "") if target in model.schema.names else ""
        found.append(Reading(f"predicted {target}", judge.predict(shown), unit))
    training = _training(model, readers.data, notes)
    found += _anatomy(model, shown, training, readers.data, notes)
    if training is not None:
        near = memorisation.nearest_images(shown, training.unit)
        found.append(Reading("distance to nearest training picture", near.distance, "of full scale", 3))
    return found, notes


def _training(model: DiffusionModel, data: str | Path | None, notes: list[str]) -> ImageSet | None:
    """The training images of the shards; None, with a note, where nobody named shards and the run's are not there."""
    shards = model.config.data.shards
    if data is None and not (shards and Path(shards).is_dir()):
        notes.append("Not measured: the distance to the nearest training picture (--data: the shards of the run).")
        return None
    _, _, splits = real_people.open_real(model, data)
    if "train" not in splits:
        raise InputError(data or shards, "splits", ", ".join(splits), "training people, to find the nearest one")
    return splits["train"]


def _anatomy(
    model: DiffusionModel, shown: np.ndarray, training: ImageSet | None, data: str | Path | None, notes: list[str]
) -> list[Reading]:
    """The dark fraction of grey slices; ventricles and brain of volumes whose model was told them."""
    contract, spec = model.contract, model.config.study.dark_fraction
    if shown.ndim == 5:
        if contract is None or not contract.measured:
            return []
        try:
            region = head_volumes.region_of(contract, data or model.config.data.shards)
        except InputError as error:
            notes.append(f"Not measured: ventricles and brain ({error}).")
            return []
        assert region is not None  # something was measured
        units = {head_volumes.VENTRICLES: ("MNI-scaled mm3", 0), head_volumes.BRAIN: ("of the head", 3)}
        measured = head_volumes.measure(to_uint8(shown), region)
        return [Reading(f"measured {name}", measured[name], *units[name]) for name in units]
    if shown.shape[-1] != 1:
        return []
    if training is None and not {"threshold", "threshold_unit"} & set(spec or {}):
        notes.append("Not measured: the dark fraction, whose threshold comes from training pictures (--data).")
        return []
    check = anatomy.dark_fraction(spec, contract, shown if training is None else training.images)
    return [Reading("dark fraction of the central box", 100 * check(shown), "%", 1)]


def require_new_page(out: Path) -> None:
    """Raise InputError where something has that name."""
    if out.exists():
        raise InputError(out, "--out", "something already there", "the name of a new file")


def explore(
    model: DiffusionModel,
    planned: Plan,
    out: str | Path,
    *,
    readers: Readers = Readers(),
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the page with every picture of the plan; returns its path. Raises InputError where `out` exists."""
    out = Path(out)
    require_new_page(out)
    images = pictures(model, planned, batch_size=batch_size, progress=progress)
    readings, notes = readings_of(model, images, readers)
    config = planned.configs[0]
    if planned.axes.left_out:
        notes.append(f"Not told to the model: {', '.join(planned.axes.left_out)}.")
    notes.append(
        f"Every picture of a seed starts from the same noise, as `brain-diffusion sample` with one condition: "
        f"{config.sampler}, {config.num_steps} steps, {config.spacing} spacing. Pictures are synthetic; the person's "
        f"right is on the left."
        if model.contract is not None and model.contract.kind != "pictures"
        else f"Every picture of a seed starts from the same noise: {config.sampler}, {config.num_steps} steps."
    )
    start = {sliders.SCALE: float(model.config.sample.guidance_scale)}
    weights = f"step {model.step}, weights {model.version}"
    story = Story(Path(model.path).resolve().name, f"{planned.axes.text()} = {len(images)} pictures; {weights}", notes)
    return write_page(out, planned.axes, frames_of(images), model.image_shape(), readings, replace(story, start=start))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
