"""What a run would cost, from a config alone: sizes of volumes too, and the published autoencoder's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.tasks import plan, train

ROOT = Path(__file__).parents[2]
MNI = {"size": (80, 96, 80), "offset": (6, 6, 0)}


@pytest.mark.parametrize(
    ("prepare", "size"),
    [
        ({}, (109, 91)),
        ({"fit": {"rule": "resize", "size": (32, 24)}}, (32, 24)),
        ({"kind": "volumes"}, (91, 109, 91)),
        ({"kind": "volumes", "volume": MNI}, (80, 96, 80)),
        ({"kind": "volumes", "volume": {**MNI, "spacing_mm": 4.0}}, (40, 48, 40)),
        ({"kind": "volumes", "grid": "native", "spacing_mm": (), "volume": {"size": (9, 8, 7)}}, (9, 8, 7)),
    ],
)
def test_a_plan_without_shards_has_the_sizes_that_would_be_prepared(prepare, size):
    assert plan.planned_size(Preparation(**prepare)) == size


PUBLISHED = """
prepare.spacing_mm=1,1,1 prepare.volume.size=160,224,160 prepare.volume.offset=11,-3,0 data.batch_size=1
autoencoder.layout=monai autoencoder.channels=64,128,128,128 autoencoder.num_res_blocks=2,2,2,2
autoencoder.attention_levels=False,False,False,False autoencoder.norm_num_groups=32 autoencoder.latent_channels=3
autoencoder.remat=blocks autoencoder.dtype=bfloat16 loss.adversarial=0.005
"""


@pytest.mark.slow
def test_training_the_published_autoencoder_keeps_less_than_24_gib():
    """At 160x224x160, batch 1, beside its discriminator, with remat and bfloat16: nothing is computed."""
    config = train.open_config(ROOT / "configs/oasis/autoencoder_2mm.py", PUBLISHED.split(), planning=True)
    cost = plan.plan(config)
    assert cost.parameters == 13_766_248 + 2_771_873  # of the autoencoder, and of a discriminator of width 32
    whole = 160 * 224 * 160 * 64 * 2  # bytes of the finest features in bfloat16
    assert 4 * whole < cost.activation_bytes
    assert cost.total_bytes < 24 * 2**30
