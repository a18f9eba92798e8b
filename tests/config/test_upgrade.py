"""What earlier versions wrote, with the names of today."""

from __future__ import annotations

import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.config import upgrade
from brain_diffusion_jax.errors import InputError


@pytest.mark.parametrize("kind", ["diffusion", "age", "class", "gan"])
def test_a_run_of_the_first_version_keeps_what_its_kind_reads(kind: str) -> None:
    whole = configs.to_json(configs.base_config())
    config = configs.from_json({"kind": kind, **whole})
    assert configs.to_json(config).items() >= configs.to_json(configs.kind_config(configs.base_config(), kind)).items()
    assert "pictures" not in config


def test_a_setting_that_was_renamed_is_found_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(upgrade.RENAMED, "train.steps", "train.num_steps")
    assert configs.from_json({"kind": "diffusion", "train": {"steps": 7}}).train.num_steps == 7
    with pytest.raises(InputError, match=r"train\.steps: found an unknown key; expected train\.num_steps, its name"):
        configs.apply_overrides(configs.base_config(), ["train.steps=7"])


@pytest.mark.parametrize("number", [3, 0, "2"])
def test_the_format_of_a_younger_version_is_refused(number: object) -> None:
    with pytest.raises(InputError, match=r"format: found .*install a newer one"):
        configs.from_json({"format": number, "kind": "gan"})
