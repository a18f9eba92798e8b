"""State dicts of MONAI's AutoencoderKL: names, the architecture inferred, what is refused; all of it without torch."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import traverse_util

from brain_diffusion_jax.conversion import monai_autoencoder as monai
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig

TINY = dict(layout="monai", channels=(4, 8), num_res_blocks=(1, 2), attention_levels=(False, True), norm_num_groups=2)


def network(dims: int = 2, in_channels: int = 1, out_channels: int = 1, **settings) -> Autoencoder:
    return Autoencoder(AutoencoderConfig(**{**TINY, "latent_channels": 3, **settings}), dims, in_channels, out_channels)


def weights(module: Autoencoder):
    rng = np.random.default_rng(0)
    flat = {p: rng.standard_normal(s).astype(np.float32) for p, s in monai.expected_shapes(module).items()}
    return traverse_util.unflatten_dict(flat)


@pytest.mark.parametrize("names", ["new", "old"])
@pytest.mark.parametrize(
    ("dims", "settings"),
    [
        (2, {}),
        (3, {"encoder_attention": True}),
        (2, {"decoder_attention": True, "encoder_attention": True, "num_res_blocks": (2, 1), "out_channels": 2}),
        (3, {"attention_levels": False, "channels": (4,), "num_res_blocks": 2, "in_channels": 2, "out_channels": 2}),
        (2, {"attention_levels": False, "channels": (4, 8, 8), "num_res_blocks": 1, "decoder_attention": True}),
    ],
)
def test_there_and_back_with_the_architecture_inferred(names, dims, settings):
    module = network(dims, **settings)
    params = weights(module)
    back = monai.from_monai(monai.to_monai(params, module, names=names), norm_num_groups=2)
    assert back.network == module
    jax.tree.map(np.testing.assert_array_equal, back.params, params)
    assert any("norm_eps" in line for line in back.assumed)


@pytest.mark.parametrize("change", [{"include_fc": False}, {"use_combined_linear": True}])
def test_attention_that_generative_models_had_not(change):
    module = network(**change)
    params = weights(module)
    assert monai.from_monai(monai.to_monai(params, module), norm_num_groups=2).network == module
    with pytest.raises(InputError, match="GenerativeModels"):
        monai.to_monai(params, module, names="old")


def test_names_of_the_published_network():
    settings = dict(channels=(64, 128, 128, 128), num_res_blocks=2, attention_levels=False, norm_num_groups=32)
    module = network(3, **settings)
    shapes = monai.expected_shapes(module)
    names = monai.monai_places(module.config, shapes)
    assert len(names) == 162
    assert names["encoder.blocks.4.nin_shortcut.conv.weight"] == ("encoder", "down_1", "res_0", "skip", "kernel")
    assert names["encoder.blocks.9.conv.conv.bias"] == ("encoder", "down_2", "downsample", "bias")
    assert names["decoder.blocks.3.postconv.conv.weight"] == ("decoder", "up_0", "upsample", "kernel")
    assert names["encoder.blocks.12.weight"] == ("encoder", "out_norm", "scale")
    assert names["quant_conv_log_sigma.conv.weight"] == ("to_log_variance", "kernel")


def test_what_does_not_fit_is_named():
    module = network()
    params = weights(module)
    state = monai.to_monai(params, module)
    with pytest.raises(InputError, match=r"norm_num_groups \(--norm-groups\)"):
        monai.from_monai(state, where="ae.pt")
    broken = {**state, "encoder.blocks.1.norm1.weight": np.zeros(5, np.float32), "ema": np.zeros(1, np.float32)}
    del broken["decoder.blocks.1.conv1.conv.bias"]
    with pytest.raises(InputError) as caught:
        monai.from_monai(broken, norm_num_groups=2)
    for words in (
        "missing decoder.blocks.1.conv1.conv.bias",
        "left over ema",
        "misshapen encoder.blocks.1.norm1.weight: (5,), not (4,)",
    ):
        assert words in str(caught.value)
    deconvolution = {k.replace("postconv.conv", "deconv"): v for k, v in state.items()}
    with pytest.raises(InputError, match=r"decoder\.blocks\.5: deconv\.bias"):
        monai.from_monai(deconvolution, norm_num_groups=2)
    with pytest.raises(InputError, match=r"no quant_conv_mu\.conv\.weight"):
        monai.from_monai({"conv_in.conv.weight": np.zeros(3)}, norm_num_groups=2)
    old = monai.to_monai(params, module, names="old")
    with pytest.raises(InputError, match="old and new names"):
        monai.from_monai({**state, **old}, norm_num_groups=2)
    with pytest.raises(InputError, match=r"encoder\.blocks\.0\.conv\.bias: found 4 of 4 numbers NaN"):
        monai.from_monai({**state, "encoder.blocks.0.conv.bias": np.full(4, np.nan, np.float32)}, norm_num_groups=2)
    with pytest.raises(InputError, match=r"autoencoder\.layout: found patched"):
        monai.to_monai(params, network(layout="patched"))
    with pytest.raises(InputError, match="config section `autoencoder`"):
        monai.to_monai({**params, "more": {"kernel": np.zeros(1)}}, module)
