"""Latent diffusion of OASIS-1 axial slices, on the autoencoder of autoencoder_2d.py.

Command:  brain-diffusion train configs/oasis/latent_2d.py data.shards=shards/oasis codec.autoencoder=runs/oasis-ae2d \
              --run runs/oasis-latent2d
Expected: 39 minutes of two cores; FD 3.1 on held-out people at w = 1.5, age read with r 0.93 but 12 years too old
          (docs/results.md).
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("latent_diffusion", prepared_as=Path(__file__).parent / "diffusion_cpu.py")
    c.name = "oasis_latent_2d"
    c.model.channels = (64, 128)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 16
    c.model.coordinates = 3
    # At low noise v is the noise, which a network can pass on exactly; x0 it would have to copy.
    c.diffusion.prediction = "v"
    c.train.loss_weight = "none"
    c.train.drop_probability = 0.1
    c.data.batch_size = 8
    c.optimizer.learning_rate = 8e-4
    c.optimizer.warmup_steps = 100
    c.train.num_steps = 3000
    c.train.ema_decay = 0.998
    c.train.validate_every = 500
    c.train.sample_every = 1000
    c.train.checkpoint_every = 500
    c.sample.num_steps = 20
    c.sample.guidance_scale = 1.5
    return c
