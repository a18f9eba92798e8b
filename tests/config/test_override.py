"""Overrides of the command line: typed by the defaults, and refused where nobody reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.config.defaults import reads_of
from brain_diffusion_jax.errors import InputError


def test_overrides_are_typed() -> None:
    config = configs.base_config()
    configs.apply_overrides(
        config,
        ["train.num_steps=7", "optimizer.learning_rate=1", "model.channels=8,16", "name=12", "cohort.keep.cdr=0"],
    )
    assert (config.train.num_steps, config.optimizer.learning_rate) == (7, 1.0)
    assert config.model.channels == (8, 16)
    assert config.name == "12"
    assert config.cohort.keep.cdr == "0"


def test_what_a_config_file_set_can_be_unset() -> None:
    config = configs.base_config()
    with config.unlocked(), config.data.ignore_type():
        config.data.class_balance = "class"
    configs.apply_overrides(config, ["data.class_balance=None", "conditioning.mode=none"])
    assert config.data.class_balance is None
    assert config.conditioning.mode == "none"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.num_stepz=5", ["train.num_stepz", "train.num_steps"]),
        ("trian.num_steps=5", ["trian.num_steps", "train.num_steps"]),
        ("train=5", ["train", "unknown key"]),
        ("train.num_steps=many", ["str 'many'", "int"]),
        ("train.num_steps=1.5", ["float 1.5", "int"]),
        ("train.num_steps", ["no '='"]),
    ],
)
def test_typos_and_wrong_types_name_both_sides(override: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        configs.apply_overrides(configs.base_config(), [override])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_words_of_a_table_stay_words() -> None:
    config = configs.base_config()
    cohort = config.cohort
    words = ["columns.age=21003", "columns.sex=TRUE", "sex_codes.1=M", "sex_codes.TRUE=F", "columns.scan=1,2"]
    words += ["keep.healthy=TRUE", "keep.site=007", "keep.group=None", "keep.cdr=0,0.50", "keep.arm=(TRUE,'a b')"]
    words += ["keep.visit=['a, b', 'c']", "keep.wave=(1,)", "keep.code='02'"]
    configs.apply_overrides(config, [f"cohort.{word}" for word in words])
    with pytest.raises(InputError, match=r"cohort.keep.31-0.0: found a dot in the name of a column or code"):
        configs.apply_overrides(config, ["cohort.keep.31-0.0=1"])
    assert cohort.columns.to_dict() == {"age": "21003", "sex": "TRUE", "scan": "1,2"}
    assert cohort.sex_codes.to_dict() == {"1": "M", "TRUE": "F"}
    assert cohort.keep.to_dict() == {
        "healthy": "TRUE", "site": "007", "group": "None", "cdr": ("0", "0.50"), "arm": ("TRUE", "a b"),
        "visit": ("a, b", "c"), "wave": ("1",), "code": "02",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "override", "expected"),
    [
        ("gan", "train.num_steps=5", "gan.num_steps"),
        ("gan", "optimizer.learning_rate=0.1", "gan.learning_rate"),
        ("age", "optimizer.name=lion", "nearest"),
        ("class", "train.ema_decay=0.5", "class_model.ema_decay"),
        ("class", "data.class_balance=sex", "nearest"),
        ("diffusion", "gan.latent=3", "nearest"),
    ],
)
def test_an_override_that_nobody_would_read_is_refused(kind: str, override: str, expected: str) -> None:
    with pytest.raises(InputError, match="a setting that this command does not read") as caught:
        configs.apply_overrides(configs.base_config(), [override], reads=reads_of(kind))
    assert override.partition("=")[0] in str(caught.value)
    assert expected in str(caught.value)
    with pytest.raises(InputError, match="a setting that this command does not read.*" + expected):
        configs.apply_overrides(configs.base_config(kind), [override])


@pytest.mark.parametrize(("kind", "override"), [("diffusion", "cohort.root=data"), ("age", "prepare.fit.rule=none")])
def test_what_prepare_was_told_stands_in_the_shards(kind: str, override: str) -> None:
    with pytest.raises(InputError, match=r"does not read; expected data\.shards=FOLDER, whose contract\.json keeps"):
        configs.apply_overrides(configs.base_config(), [override], reads=reads_of(kind))


def test_home_is_found_behind_an_equals_sign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = configs.apply_overrides(configs.base_config(), ["data.shards=~/shards", "cohort.root=~", "name=~"])
    assert (config.data.shards, config.cohort.root, config.name) == (f"{tmp_path}/shards", str(tmp_path), "~")
