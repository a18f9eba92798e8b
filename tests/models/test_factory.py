"""Config sections that contradict each other are refused with the field."""

from __future__ import annotations

import pytest

from brain_diffusion_jax import config as configs
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.conditioning_config import ConditioningConfig
from brain_diffusion_jax.models.unet_config import ModelConfig

SCHEMA = Schema(
    (
        Continuous("age", "years", 18, 88),
        Categorical("sex", ("M", "F")),
        Continuous("slice", "index", 0, 90),
    )
)


MODEL = dict(
    channels=(4,),
    num_res_blocks=(1,),
    attention_levels=(True,),
    num_head_channels=(4,),
    norm_num_groups=2,
    context_dim=3,
)


@pytest.mark.parametrize(
    ("model", "conditioning", "words"),
    [
        ({"channelz": (4,)}, {}, ["model.channelz", "channels"]),
        ({"norm_num_groups": 3}, {}, ["norm_num_groups", "3", "divisor"]),
        ({"num_head_channels": (0,)}, {}, ["num_head_channels"]),
        ({"attention_levels": (True, False)}, {}, ["attention_levels", "1 entries"]),
        ({"dtype": "float8"}, {}, ["dtype", "bfloat16"]),
        ({"remat": "all"}, {}, ["remat", "blocks"]),
        ({}, {"mode": "row"}, ["conditioning.mode", "raw"]),
        ({}, {"mode": "raw", "planes": False, "width": None} | {"mode": "none"}, ["context_dim", "3", "None"]),
        ({"context_dim": 5}, {"mode": "raw"}, ["context_dim", "5", "age"]),
        ({}, {"width": 7}, ["conditioning.width", "7"]),
        ({"context_dim": None}, {"mode": "none", "planes": True}, ["planes", "without conditions"]),
    ],
)
def test_contradictions_are_refused_with_the_field(model: dict, conditioning: dict, words: list[str]) -> None:
    def make() -> None:
        network = configs.build(ModelConfig, {**MODEL, **model}, prefix="model.")
        factory.diffusion_network(network, ConditioningConfig(**conditioning), SCHEMA)

    with pytest.raises(InputError) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)
