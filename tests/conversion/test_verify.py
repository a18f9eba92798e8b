"""The side-by-side comparison names the first layer that differs, and by how much."""

from __future__ import annotations

import copy

import pytest

from brain_diffusion_jax.conversion import monai, verify
from brain_diffusion_jax.errors import InputError
from tests.conversion import monai_cases as cases

pytestmark = pytest.mark.parity
ARGUMENTS = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "channels": (4, 4),
    "num_res_blocks": 1,
    "attention_levels": (False, True),
    "num_head_channels": (0, 4),
    "norm_num_groups": 2,
    "with_conditioning": True,
    "cross_attention_dim": 3,
}


def test_agreement_a_planted_fault_and_a_wrong_answer() -> None:
    state = cases.state_of(cases.network(ARGUMENTS))
    converted = monai.from_monai(state, num_head_channels=(0, 4), norm_num_groups=2)
    good = verify.compare(state, converted)
    assert good.first is None
    assert not good.unmatched
    assert good.rows[-1].monai == ""  # the whole network comes last
    assert {"time_embed.2", "down_blocks.0.downsampler.op.conv", "out.2.conv"} <= {r.monai for r in good.rows}
    assert any(r.monai.endswith("attn2.drop_weights") for r in good.rows)  # attention itself, not only its layers
    assert "all within" in str(good)

    params = copy.deepcopy(converted.params)
    bias = params["down_1"]["res_0"]["conv2"]["bias"]
    params["down_1"]["res_0"]["conv2"]["bias"] = bias + 0.5
    faulty = verify.compare(state, monai.Converted(params, converted.model))
    assert faulty.first is not None
    assert (faulty.first.monai, faulty.first.ours) == ("down_blocks.1.resnets.0.conv2.conv", "down_1.res_0.conv2")
    assert faulty.first.absolute == pytest.approx(0.5, rel=1e-3)
    assert "FIRST LAYER THAT DIFFERS: down_blocks.1.resnets.0.conv2.conv" in str(faulty)


def test_missing_monai_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(InputError, match="pip install monai"):
        verify.monai_network({}, {})
