"""Every config file loads; typos and wrong types are refused with a suggestion."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax import kinds
from brain_diffusion_jax.errors import InputError

FOLDER = Path(__file__).resolve().parent.parent / "configs"
FILES = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_config_loads_and_survives_json(path: Path) -> None:
    config = configs.load_config(path)
    assert config.is_locked
    again = configs.from_json(configs.to_json(config))
    assert configs.to_json(again) == configs.to_json(config)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_config_builds_its_network(path: Path) -> None:
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.diffusion.process import Process
    from brain_diffusion_jax.models import factory

    config = configs.load_config(path)
    factory.diffusion_network(config.model, config.conditioning, Schema.from_json(config.covariates))
    Process(**config.diffusion)


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


def test_a_missing_or_broken_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        configs.load_config(tmp_path / "nowhere.py")
    bad = tmp_path / "bad.py"
    bad.write_text("def get_config():\n    return undefined\n")
    with pytest.raises(InputError, match=r"bad\.py.*undefined"):
        configs.load_config(bad)


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
    ("line", "words"),
    [
        ("c.data.bach_size = 64", ["data.bach_size", "unknown key", "data.batch_size"]),
        ("c.sample.num_step = 7", ["sample.num_step", "sample.num_steps"]),
        ("c.trian = {'num_steps': 5}", ["trian", "unknown key"]),
        ("c.train.num_steps = '5'", ["num_steps", "str"]),
        ("c.train = 5", ["train"]),
        ("c.train.num_steps = c.train.num_stepz * 2", ["line 5, c.train.num_steps = c", "nearest: train.num_steps"]),
        ("c.lock(); c.optimizer.lr = 1e-3", ["line 5", "optimizer.lr", "nearest: optimizer."]),
        ("return None", ["get_config()", "nothing (None)", "ConfigDict"]),
        ("return {'name': 'x'}", ["get_config()", "dict"]),
        ("import no_such_module", ["line 5", "no_such_module"]),
        ("1 / 0", ["line 5", "ZeroDivisionError"]),
        ("c.prepare.fit.size = (", ["SyntaxError"]),
    ],
)
def test_a_mistake_in_a_config_file_is_named_with_its_line_and_the_nearest_keys(
    line: str, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from brain_diffusion_jax.config import base_config\n\ndef get_config():\n    c = base_config()\n"
        f"    {line}\n    return c\n"
    )
    with pytest.raises(InputError) as caught:
        configs.load_config(path)
    assert all(word in str(caught.value) for word in ["mine.py", *words]), str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_a_config_file_may_invent_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from brain_diffusion_jax.config import base_config\n\ndef get_config():\n    c = base_config()\n"
        "    c.cohort.keep.cdr = 0\n    c.cohort.columns = {'age': 'Age (y)'}\n    c.data.class_balance = 'sex'\n"
        "    c.age_model.backbone_options = {'tissue_bins': 10}\n    c.optimizer.learning_rate = 1\n    return c\n"
    )
    config = configs.load_config(path)
    assert config.cohort.keep.cdr == 0
    assert config.cohort.columns["age"] == "Age (y)"
    assert config.age_model.backbone_options.tissue_bins == 10
    assert (config.data.class_balance, config.optimizer.learning_rate) == ("sex", 1.0)


@pytest.mark.parametrize(
    ("kind", "override", "expected"),
    [
        ("gan", "train.num_steps=5", "gan.num_steps"),
        ("gan", "optimizer.learning_rate=0.1", "gan.learning_rate"),
        ("age", "optimizer.name=lion", "nearest"),
        ("class", "train.ema_decay=0.5", "class_model.ema_decay"),
        ("class", "data.class_balance=sex", "nearest"),
        ("diffusion", "cohort.keep.cdr=0", "nearest"),
        ("diffusion", "gan.latent=3", "nearest"),
    ],
)
def test_an_override_that_nobody_would_read_is_refused(kind: str, override: str, expected: str) -> None:
    with pytest.raises(InputError, match="a setting that this command does not read") as caught:
        configs.apply_overrides(configs.base_config(), [override], reads=kinds.KINDS[kind].reads)
    assert override.partition("=")[0] in str(caught.value)
    assert expected in str(caught.value)


def test_the_table_of_kinds_names_settings_that_exist() -> None:
    from brain_diffusion_jax.api import _KINDS

    config = configs.base_config()
    assert kinds.KINDS.keys() == _KINDS.keys()
    tables = [p for k in kinds.KINDS.values() for p in (*k.reads, *k.fixed, *k.network, k.steps)]
    for path in [*tables, *(p for paths in kinds.READS.values() for p in paths), *kinds.FORM, *kinds.HOW_COMPUTED]:
        section, _, key = path.partition(".")
        assert section in config, path
        assert not key or key in config[section], path
    for name, kind in kinds.KINDS.items():
        assert all(kinds.covers(kind.reads, path) for path in kind.fixed), name


def test_home_is_found_behind_an_equals_sign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = configs.apply_overrides(configs.base_config(), ["data.shards=~/shards", "cohort.root=~", "name=~"])
    assert (config.data.shards, config.cohort.root, config.name) == (f"{tmp_path}/shards", str(tmp_path), "~")
