"""Latent diffusion of the phantom volumes, for two CPU cores (minutes), on the autoencoder of autoencoder.py.

Command:  brain-diffusion train configs/phantom/latent_diffusion.py data.shards=shards/phantom_volumes \
              codec.autoencoder=runs/phantom-ae --run runs/phantom-latent
          brain-diffusion sample runs/phantom-latent --set age=70 sex=F ventricles=40000 brain=0.8 --out volumes
Expected: 600 of the steps were run (8 CPU-minutes): as soft as the autoencoder; ventricles grow with what is asked.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("latent_diffusion", prepared_as=Path(__file__).parent / "volumes.py")
    c.name = "phantom_latent"
    c.model.channels = (32, 64)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 8
    c.model.coordinates = 3
    c.conditioning.planes = True
    c.diffusion.prediction = "x0"
    c.train.loss_weight = "truncated_snr"
    c.data.batch_size = 4
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = 50
    c.train.num_steps = 1500
    c.train.ema_decay = 0.99
    c.train.validate_every = 500
    c.train.validation_samples = 6
    c.train.sample_every = 500
    c.train.checkpoint_every = 500
    c.sample.num_steps = 10
    c.sample.guidance_scale = 1.5
    return c
