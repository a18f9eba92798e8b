"""Latent diffusion of OASIS-1 axial slices, on the autoencoder of autoencoder_2d.py.

Command:  brain-diffusion train configs/oasis/latent_2d.py data.shards=shards/oasis codec.autoencoder=runs/oasis-ae2d \
              --run runs/oasis-latent2d
Expected: not yet run.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("latent_diffusion", prepared_as=Path(__file__).parent / "diffusion_cpu.py")
    c.name = "oasis_latent_2d"
    c.model.channels = (96, 128)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 16
    c.model.coordinates = 3
    c.diffusion.prediction = "x0"
    c.train.loss_weight = "truncated_snr"
    c.data.batch_size = 8
    c.optimizer.learning_rate = 5e-4
    c.optimizer.warmup_steps = 100
    c.train.num_steps = 8000
    c.train.ema_decay = 0.998
    c.train.validate_every = 500
    c.train.sample_every = 1000
    c.train.checkpoint_every = 500
    c.sample.num_steps = 20
    c.sample.guidance_scale = 2.0
    return c
