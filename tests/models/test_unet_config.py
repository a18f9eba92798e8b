"""The settings of the UNet."""

from __future__ import annotations

from brain_diffusion_jax.models import factory

MODEL = dict(
    channels=(4,),
    num_res_blocks=(1,),
    attention_levels=(True,),
    num_head_channels=(4,),
    norm_num_groups=2,
    context_dim=3,
)


def test_one_number_stands_for_every_level() -> None:
    network = factory.unet(
        {**MODEL, "channels": (4, 8), "num_res_blocks": 2, "num_head_channels": 4, "attention_levels": True}
    )
    assert (network.config.num_res_blocks, network.config.num_head_channels) == ((2, 2), (4, 4))
    assert network.config.attention_levels == (True, True)
