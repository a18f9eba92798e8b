"""From a ConfigDict to the settings of a kind and back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.age.config import AgeConfig
from brain_diffusion_jax.tasks.spec import TASKS, spec


def test_settings_are_frozen_and_what_follows_from_the_data_stands_in_the_record() -> None:
    config = configs.apply_overrides(configs.base_config("age"), ["age_model.width=0.5", "data.shards=here"])
    read = spec("age").read(config)
    assert isinstance(read, AgeConfig)
    assert (read.age_model.width, read.data.shards) == (0.5, "here")
    with pytest.raises(FrozenInstanceError):
        read.age_model.width = 1.0  # type: ignore[misc]
    resolved = replace(read, age_model=replace(read.age_model, target_mean=47.5))
    record = spec("age").record(resolved)
    assert record["age_model"]["target_mean"] == 47.5
    assert configs.from_json(record).age_model.target_mean == 47.5
    assert {**record, "age_model": {**record["age_model"], "target_mean": 0.0}} == configs.to_json(
        configs.kind_config(config, "age")
    )


def test_settings_that_cannot_be_are_refused() -> None:
    config = configs.base_config("gan")
    config.gan.critic_steps = 0
    with pytest.raises(InputError, match=r"gan\.critic_steps: found 0"):
        spec("gan").read(config)


def test_a_small_network_of_another_family_keeps_its_section() -> None:
    overrides = ["conditioning.mode=scalar", "model.channels=(8,16,16,32,32)"]
    config = configs.apply_overrides(configs.base_config("diffusion"), overrides)
    record = spec("diffusion").record(spec("diffusion").read(config))
    assert record == configs.to_json(configs.kind_config(config, "diffusion"))
    assert len(record["model"]["channels"]) != len(record["model"]["num_res_blocks"])


def test_no_device_is_started_by_reading_settings() -> None:
    """`host.prepare` shows the cores of a CPU as devices, which is too late once JAX has started."""
    code = (
        "from brain_diffusion_jax.config import base_config\n"
        "from brain_diffusion_jax.covariates import Categorical, Continuous, Schema\n"
        "from brain_diffusion_jax.tasks.spec import spec\n"
        "from jax._src import xla_bridge\n"
        "schema = Schema((Continuous('age', 'years', 20, 80), Categorical('sex', ('F', 'M'))))\n"
        f"for kind in {list(TASKS)}:\n"
        "    config = spec(kind).read(base_config(kind))\n"
        "    spec(kind).settings(config), spec(kind).loading(config, schema)\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
