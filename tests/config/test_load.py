"""Every config file loads, as does what a run folder holds; mistakes are named with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.diffusion.config import DiffusionConfig
from brain_diffusion_jax.tasks.spec import spec

FOLDER = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_every_config_loads_and_survives_json(path: Path) -> None:
    config = configs.load_config(path)
    assert config.is_locked
    again = configs.from_json(configs.to_json(config))
    assert configs.to_json(again) == configs.to_json(config)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_every_config_builds_its_network(path: Path) -> None:
    from brain_diffusion_jax.covariates import Schema
    from brain_diffusion_jax.models import factory

    schema = Schema.from_json(configs.load_config(path).covariates)
    whole = configs.load_config(path, kind="")
    built = spec(whole.kind).read(whole)
    assert spec(whole.kind).record(built) == configs.to_json(whole)
    if isinstance(built, DiffusionConfig):
        factory.diffusion_network(built.model, built.conditioning, schema)


def test_a_missing_or_broken_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        configs.load_config(tmp_path / "nowhere.py")
    bad = tmp_path / "bad.py"
    bad.write_text("def get_config():\n    return undefined\n")
    with pytest.raises(InputError, match=r"bad\.py.*undefined"):
        configs.load_config(bad)


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


def test_a_file_of_a_kind_serves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from brain_diffusion_jax.config import base_config\n\ndef get_config():\n    c = base_config('age')\n"
        "    c.age_model.width = 0.5\n    return c\n"
    )
    for asked in ("age", ""):
        config = configs.load_config(path, kind=asked)
        assert (config.kind, config.age_model.width) == ("age", 0.5)
        assert "cohort" not in config
    assert configs.load_config(path).cohort.layout == "bids"
    with pytest.raises(InputError, match="kind: found age; expected gan"):
        configs.load_config(path, kind="gan")
    path.write_text(path.read_text().replace("age_model.width", "gan.latent"))
    with pytest.raises(InputError, match="gan"):
        configs.load_config(path)


def test_a_file_without_a_kind_serves_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from brain_diffusion_jax.config import base_config as get_config\n")
    assert configs.load_config(path, kind="").kind == "diffusion"
    for kind in ("diffusion", "age", "class", "gan"):
        config = configs.load_config(path, ["seed=3"], kind=kind)
        assert (config.kind, config.seed) == (kind, 3)
        assert "prepare" not in config
    with pytest.raises(InputError, match="kind: found vae; expected nearest"):
        configs.load_config(path, kind="vae")


@pytest.mark.parametrize("kind", ["diffusion", "age", "class", "gan"])
def test_a_run_holds_what_its_kind_reads(kind: str) -> None:
    items = configs.to_json(configs.kind_config(configs.base_config(), kind))
    assert (items["kind"], items["format"]) == (kind, 2)
    assert configs.to_json(configs.from_json(items)) == items
    told = configs.from_json({**items, "covariates": [], "source": {"file": "x.h5"}})
    assert (told.covariates, told.source.to_dict()) == ((), {"file": "x.h5"})
    with pytest.raises(InputError, match=r"train.acumulation.*nearest: train.accumulation"):
        configs.from_json({**items, "train": {"acumulation": 2}})
    with pytest.raises(InputError, match=f"no run of kind {kind} reads"):
        configs.from_json({**items, "vae": {}})


def test_a_config_is_prepared_as_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from brain_diffusion_jax.config import base_config\n\ndef get_config():\n    c = base_config('diffusion')\n"
        "    c.name = 'mine'\n    c.cohort.keep.cdr = 0\n    c.prepare.slices.start = 30\n    c.split.seed = 4\n"
        "    return c\n"
    )
    config = configs.base_config("gan", prepared_as=path)
    assert (config.name, config.kind, config.split.seed) == ("run", "gan", 4)
    assert (config.cohort.keep.cdr, config.prepare.slices.start) == (0, 30.0)
    assert "model" not in config


@pytest.mark.parametrize(("name", "edge"), [("volumes_2mm", 0.0), ("volumes_4mm", 4.0)])
def test_a_kind_takes_the_volumes_of_a_file(name: str, edge: float) -> None:
    path = Path(__file__).parents[2] / "configs" / "oasis" / f"{name}.py"
    config = configs.base_config("gan", prepared_as=path)
    assert (config.prepare.kind, config.prepare.volume.size) == ("volumes", (80, 96, 80))
    assert config.prepare.volume.spacing_mm == edge
    assert [item["name"] for item in config.covariates] == ["sex", "age"]
