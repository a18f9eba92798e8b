"""MONAI state dicts: names, the architecture inferred and what must be given, and that nothing is half loaded."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util

from brain_diffusion_jax.conversion import monai
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory

MODEL: dict[str, Any] = dict(
    spatial_dims=2,
    in_channels=2,
    out_channels=1,
    channels=(4, 8),
    num_res_blocks=(1, 2),
    attention_levels=(False, True),
    num_head_channels=(0, 4),
    norm_num_groups=2,
    norm_eps=1e-6,
    resblock_updown=True,
    transformer_num_layers=2,
    context_dim=3,
    num_class_embeds=None,
    upcast_attention=False,
    dropout_cattn=0.0,
    include_fc=True,
    use_combined_linear=False,
    patch_size=1,
    patches="pixels",
    coordinates=0,
    scan_blocks=False,
    dtype="float32",
    remat="none",
)
ANSWERS = {"num_head_channels": (0, 4), "norm_num_groups": 2}


def _params(model: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = monai.expected_shapes(factory.unet(model))
    return traverse_util.unflatten_dict({p: rng.standard_normal(s).astype(np.float32) for p, s in shapes.items()})


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    return _params(MODEL)


@pytest.fixture(scope="module")
def state(params: dict[str, Any]) -> dict[str, np.ndarray]:
    return monai.to_monai(params, MODEL)


def _same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("names", ["new", "old"])
def test_there_and_back_with_the_architecture_inferred(params, names: str) -> None:
    back = monai.from_monai(monai.to_monai(params, MODEL, names=names), **ANSWERS)
    _same(back.params, params)
    assert back.model == MODEL
    assert any("norm_eps" in line for line in back.assumed)


@pytest.mark.parametrize(
    "change",
    [
        {"spatial_dims": 3, "context_dim": None, "transformer_num_layers": 1, "use_combined_linear": True},
        {"channels": (4,), "num_res_blocks": (2,), "attention_levels": (False,), "num_head_channels": (2,)},
        {"include_fc": False, "num_class_embeds": 5, "resblock_updown": False, "num_head_channels": (0, 3)},
    ],
)
def test_other_architectures_are_inferred_too(change: dict[str, Any]) -> None:
    model = {**MODEL, **change}
    if len(model["channels"]) == 1:
        model["resblock_updown"] = False  # one level never changes resolution: the file cannot tell
    back = monai.from_monai(
        monai.to_monai(_params(model), model), num_head_channels=model["num_head_channels"], norm_num_groups=2
    )
    assert back.model == model


def test_what_shapes_do_not_tell_is_asked_with_its_choices(state) -> None:
    with pytest.raises(InputError) as caught:
        monai.from_monai(state, where="unet.pth")
    for words in (
        "unet.pth",
        "--head-channels",
        "0,8",
        "level 1: 1, 2, 4, 8",
        "--norm-groups",
        "1, 2, 4",
        "32 in MONAI",
    ):
        assert words in str(caught.value)
    with pytest.raises(InputError, match="num_head_channels"):
        monai.from_monai(state, norm_num_groups=2)
    with pytest.raises(InputError, match="norm_num_groups"):
        monai.from_monai(state, num_head_channels=(0, 4), norm_num_groups=3)


def test_every_key_that_does_not_fit_is_listed_and_nothing_is_converted(state) -> None:
    broken = dict(state)
    del broken["down_blocks.1.resnets.1.conv2.conv.bias"]
    broken["up_blocks.0.resnets.0.norm1.weight"] = np.zeros(5, np.float32)
    broken["ema.decay"] = np.zeros((), np.float32)
    with pytest.raises(InputError) as caught:
        monai.from_monai(broken, **ANSWERS)
    message = str(caught.value)
    assert "3 that do not fit" in message
    assert "missing down_blocks.1.resnets.1.conv2.conv.bias" in message
    assert "misshapen up_blocks.0.resnets.0.norm1.weight: (5,), not (16,)" in message
    assert "left over ema.decay" in message
    with pytest.raises(InputError, match="DiffusionModelUNet"):
        monai.from_monai({"encoder.weight": np.zeros(3)}, **ANSWERS)
    old = {"middle_block.attention.transformer_blocks.0.attn1.to_out.0.bias": np.zeros(8, np.float32)}
    with pytest.raises(InputError, match="old and new names"):
        monai.from_monai({**state, **old}, **ANSWERS)


def test_what_monai_cannot_be_told_is_refused(params) -> None:
    with pytest.raises(InputError, match="patch_size"):
        monai.to_monai(params, {**MODEL, "patch_size": 2})
    with pytest.raises(InputError, match="parameters"):
        monai.to_monai({**params, "extra": {"kernel": np.zeros(1)}}, MODEL)
    combined = {**MODEL, "use_combined_linear": True}
    with pytest.raises(InputError, match="GenerativeModels"):
        monai.to_monai(_params(combined), combined, names="old")


def test_weights_that_are_no_numbers_are_refused(params, state) -> None:
    for bad in (np.nan, np.inf):
        broken = {**state, "out.2.conv.bias": np.array([bad], np.float32)}
        with pytest.raises(InputError, match=r"out\.2\.conv\.bias: found 1 of 1 numbers NaN or infinite"):
            monai.from_monai(broken, **ANSWERS)
        with pytest.raises(InputError, match=r"conv_out\.bias"):
            monai.to_monai({**params, "conv_out": {**params["conv_out"], "bias": np.array([bad])}}, MODEL)
