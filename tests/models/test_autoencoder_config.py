"""Settings of the autoencoder: what is refused, what follows from them."""

from __future__ import annotations

import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig, autoencoder_config


def test_latent_shapes_are_rounded_up():
    patched = AutoencoderConfig()
    assert patched.size_multiple == 8
    assert patched.latent_shape((80, 96, 80, 1)) == (10, 12, 10, 8)
    assert patched.latent_shape((109, 91, 1)) == (14, 12, 8)
    monai = AutoencoderConfig(layout="monai", latent_channels=3, norm_num_groups=8)
    assert monai.size_multiple == 4
    assert monai.latent_shape((80, 97, 80, 1)) == (20, 25, 20, 3)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"layout": "mona"}, "layout"),
        ({"channels": (32, 60, 128), "norm_num_groups": 8}, "norm_num_groups"),
        ({"norm_num_groups": -1}, "norm_num_groups"),
        ({"layout": "monai", "norm_num_groups": 0}, "norm_num_groups"),
        ({"num_res_blocks": (1, 2)}, "num_res_blocks"),
        ({"attention_levels": (False,)}, "attention_levels"),
        ({"channels": (), "num_res_blocks": (), "attention_levels": ()}, "channels"),
        ({"latent_channels": 0}, "latent_channels"),
        ({"patch_size": 0}, "patch_size"),
        ({"dtype": "float8"}, "dtype"),
        ({"remat": "all"}, "remat"),
    ],
)
def test_settings_that_contradict_are_refused_by_name(settings, field):
    with pytest.raises(InputError, match=rf"autoencoder\.{field}: found"):
        AutoencoderConfig(**settings)


def test_a_section_is_read_and_a_foreign_key_refused():
    assert autoencoder_config({"channels": [8, 16], "num_res_blocks": 2, "attention_levels": False}).num_res_blocks == (
        2,
        2,
    )
    with pytest.raises(InputError, match="latent_channels"):
        autoencoder_config({"latent_chanels": 4})
