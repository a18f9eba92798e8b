"""What each command reads of a config and what each kind of model stands on: the one table for the overrides
that a command takes, for the settings that a run keeps, for `info` and for model cards.

A path names a section ("gan"), a key ("train.num_steps") or a top-level value ("seed").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def covers(paths: tuple[str, ...], path: str) -> bool:
    """Whether `paths` name `path` or what holds it."""
    return any(path == p or path.startswith(f"{p}.") for p in paths)


def _keys(section: str, names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for name in names.split())


# Of section train, what every task reads, whatever its own section says of the rest.
_LOOP = _keys(
    "train",
    "power_ema snapshot_every accumulation parallelism data_parallel fsdp log_every keep_every on_nan spike_factor"
    " peak_tflops",
)
_EVERY_RUN = ("name", "seed", "data.shards")


@dataclass(frozen=True)
class Kind:
    """reads: of a config, in training and in the use of the run later. fixed: of these, what a run keeps from its
    first step to its last; a change of anything else is allowed and noted in the run's history.

    network: sections that describe the network. steps: where their number stands. numbers: parts of the names
    of metrics that say how good it is. ranks: whether validation_loss orders checkpoints.
    """

    reads: tuple[str, ...]
    fixed: tuple[str, ...]
    network: tuple[str, ...]
    steps: str
    numbers: tuple[str, ...] = ("loss",)
    ranks: bool = True


KINDS: dict[str, Kind] = {
    "diffusion": Kind(
        reads=("name", "seed", "data", "model", "conditioning", "diffusion", "optimizer", "train", "sample", "study"),
        fixed=(
            *("seed", "model", "conditioning", "diffusion"),
            *_keys("optimizer", "name clip_norm"),
            *_keys("train", "power_ema loss_weight"),
        ),
        network=("model", "conditioning", "diffusion"),
        steps="train.num_steps",
    ),
    "age": Kind(
        reads=(*_EVERY_RUN, "age_model", *_LOOP),
        fixed=(
            *("seed", "train.power_ema"),
            *_keys("age_model", "backbone width dense pooling norm_eps backbone_options target_mean target_scale"),
            *_keys("age_model", "bins bin_low bin_high dtype target pretrained frozen loss optimizer clip_norm"),
        ),
        network=("age_model",),
        steps="age_model.num_steps",
        numbers=("loss", "mae"),
    ),
    "class": Kind(
        reads=(*_EVERY_RUN, "class_model", *_LOOP),
        fixed=("seed", "train.power_ema", *_keys("class_model", "target backbone width dense")),
        network=("class_model",),
        steps="class_model.num_steps",
        numbers=("loss", "accuracy"),
    ),
    "gan": Kind(
        reads=(
            *(*_EVERY_RUN, "data.class_balance", "gan", *_LOOP),
            *_keys("train", "validate_every validation_samples checkpoint_every keep_last"),
            *("sample.batch_size", "study"),
        ),
        fixed=("seed", "train.power_ema", *_keys("gan", "channels latent conditional")),
        network=("gan",),
        steps="gan.num_steps",
        numbers=("wasserstein", "penalty"),
        ranks=False,
    ),
}

# Of what is fixed, settings that change how a network is computed and nothing that a checkpoint holds...
HOW_COMPUTED = ("model.remat", "model.fast_conv_gradient")
# ...and settings of which a checkpoint depends on this alone.
FORM: dict[str, Any] = {
    "optimizer.clip_norm": bool,  # clipping or none
    "age_model.clip_norm": bool,
    "train.loss_weight": lambda value: value == "uncertainty",  # with weights of its own
}

# What commands read that do not train.
_COHORT = ("covariates", "cohort")
READS: dict[str, tuple[str, ...]] = {
    "prepare": ("name", *_COHORT, "prepare", "pictures", "split", "data.shards"),
    "inspect": _COHORT,
    "predict-age": _COHORT,
}


def value_at(config: Mapping[str, Any], path: str) -> Any:
    """The value of "section.key" in a config, None where it has none."""
    section, _, key = path.partition(".")
    found = config.get(section)
    return (found or {}).get(key) if key else found


def changes(kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Path -> (old, new) of the settings in which two configs (JSON values) of a kind differ.

    A setting that `old` does not name is younger than the run and no change; nor is a section that `new` lacks.
    """
    found = {}
    for section, values in old.items():
        nested = isinstance(values, dict)
        if section not in new:
            continue
        for path in [f"{section}.{key}" for key in values] if nested else [section]:
            pair = value_at(old, path), value_at(new, path)
            if covers(kind.reads, path) and not _same(*pair):
                found[path] = pair
    return found


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and old and isinstance(new, dict):
        return all(_same(value, new.get(key)) for key, value in old.items())
    return bool(old == new)


def forbidden(kind: Kind, changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Those of `changes` that a run does not survive."""
    found = []
    for path, (old, new) in changed.items():
        form = FORM.get(path, lambda value: value)
        if covers(kind.fixed, path) and path not in HOW_COMPUTED and not _same(form(old), form(new)):
            found.append(path)
    return found
