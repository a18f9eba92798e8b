"""ConfigDicts from dataclasses and back; the defaults of 0.1 have not moved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.config import derive
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.gan.config import GanModel
from brain_diffusion_jax.tasks.spec import TASKS, spec

RELEASED = Path(__file__).resolve().parent.parent / "released" / "base_config.json"


@dataclass(frozen=True)
class Inner:
    size: int = 3
    hidden: int = field(default=1, metadata={"config": False})


@dataclass(frozen=True)
class Needy:
    root: str = ""
    inner: Inner = field(default_factory=Inner, metadata={"config": "inline"})

    def __post_init__(self) -> None:
        if not self.root:
            raise InputError("needy", "root", "nothing", "a folder")


@dataclass(frozen=True, kw_only=True)
class Outer:
    needy: Needy
    inner: Inner = field(default_factory=lambda: Inner(5))
    free: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict, metadata={"config": Inner})
    width: float | None = None


def test_a_section_has_the_defaults_of_its_dataclass() -> None:
    assert derive.section(Outer).to_dict() == {
        "needy": {"root": "", "size": 3}, "inner": {"size": 5}, "free": {}, "told": {"size": 3}, "width": None,
    }  # fmt: skip
    assert derive.section(Inner(7)).to_dict() == {"size": 7}


def test_an_instance_is_built_of_a_config_and_nothing_foreign_gets_in() -> None:
    with pytest.raises(InputError, match="needy: root"):
        derive.build(Outer, {"needy": {}})
    found = derive.build(Outer, {"needy": {"root": "x"}, "free": {"any": 1}, "inner": {}})
    assert (found.inner, found.free, found.needy.root) == (Inner(5), {"any": 1}, "x")
    for key in ("size_", "hidden"):
        with pytest.raises(InputError, match=rf"inner\.{key}.*nearest: size|known: size"):
            derive.build(Outer, {"needy": {"root": "x"}, "inner": {key: 1}})


def test_two_that_know_a_setting_agree() -> None:
    assert derive.union([Inner, Inner(3)]).to_dict() == {"size": 3}
    with pytest.raises(ValueError, match="size: declared with the defaults 3 and 4"):
        derive.union([Inner, Inner(4)])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def test_defaults_are_those_of_the_first_version() -> None:
    old = _flat(json.loads(RELEASED.read_text(encoding="utf-8")))
    base = configs.base_config()
    # None stands for the default of the objective.
    base.gan = derive.section(GanModel(**base.gan).whole())
    new = _flat(configs.to_json(base))
    assert {k: (v, type(v)) for k, v in new.items() if k in old} == {k: (v, type(v)) for k, v in old.items()}
    volumes = {name for name in new if name.startswith(("prepare.kind", "prepare.volume.", "prepare.measure."))}
    assert new.keys() - old.keys() - volumes == {
        "age_model.augmentation.shear",
        "model.patches",
        *("pictures.colour", "pictures.window"),
        *(f"gan.{name}" for name in ("objective", "critic_channels", "width", "kl", "features", "adversarial")),
        *(f"study.{name}" for name in ("target", "position", "pairs", "protocol", "extrapolate", "extrapolate_images")),
    }


@pytest.mark.parametrize("kind", TASKS)
def test_the_config_of_a_kind_becomes_its_dataclass_and_comes_back(kind: str) -> None:
    config = configs.kind_config(configs.base_config(), kind)
    built = spec(kind).read(config)
    assert built == spec(kind).config() == spec(kind).read(configs.base_config())
    assert spec(kind).record(built) == configs.to_json(config)
