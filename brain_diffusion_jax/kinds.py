"""What each kind of model stands on: the one table for the settings that a run keeps, for `info` and model cards.

A path names a section ("gan"), a key ("train.num_steps") or a top-level value ("seed").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def covers(paths: Sequence[str], path: str) -> bool:
    """Whether `paths` name `path` or what holds it."""
    return any(path == p or path.startswith(f"{p}.") for p in paths)


def _keys(section: str, names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for name in names.split())


@dataclass(frozen=True)
class Kind:
    """fixed: of its config, what a run keeps from its first step to its last; a change of anything else is allowed
    and noted in the run's history.

    network: sections that describe the network. steps: where their number stands. numbers: parts of the names
    of metrics that say how good it is. ranks: whether validation_loss orders checkpoints.
    """

    fixed: tuple[str, ...]
    network: tuple[str, ...]
    steps: str
    numbers: tuple[str, ...] = ("loss",)
    ranks: bool = True


KINDS: dict[str, Kind] = {
    "diffusion": Kind(
        fixed=(
            *("seed", "model", "conditioning", "diffusion"),
            *_keys("optimizer", "name clip_norm"),
            *_keys("train", "power_ema loss_weight"),
        ),
        network=("model", "conditioning", "diffusion"),
        steps="train.num_steps",
    ),
    "age": Kind(
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
        fixed=("seed", "train.power_ema", *_keys("class_model", "target backbone width dense")),
        network=("class_model",),
        steps="class_model.num_steps",
        numbers=("loss", "accuracy"),
    ),
    "gan": Kind(
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


def value_at(config: Mapping[str, Any], path: str) -> Any:
    """The value of "section.key" in a config, None where it has none."""
    section, _, key = path.partition(".")
    found = config.get(section)
    return (found or {}).get(key) if key else found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Path -> (old, new) of the settings in which two configs (JSON values) of a kind differ.

    A setting that `old` does not name is younger than the run and no change; nor is one that `new` lacks: runs of
    0.1 hold the settings of all kinds.
    """
    found = {}
    for section, values in old.items():
        nested = isinstance(values, dict)
        if section not in new or section == "format":
            continue
        for path in [f"{section}.{key}" for key in values if key in (new[section] or ())] if nested else [section]:
            pair = value_at(old, path), value_at(new, path)
            if not _same(*pair):
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
