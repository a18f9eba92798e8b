"""An autoencoder of the phantom volumes, for two CPU cores (minutes).

Command:  brain-diffusion phantom --people 60 --out data/phantom
          brain-diffusion prepare configs/phantom/volumes.py cohort.root=data/phantom --out shards/phantom_volumes
          brain-diffusion train configs/phantom/autoencoder.py data.shards=shards/phantom_volumes --run runs/phantom-ae
Expected: 5.3 CPU-minutes; held-out people 23.3 dB; a low-pass of as many cosines has 23.5, PCA 23.6.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("autoencoder", prepared_as=Path(__file__).parent / "volumes.py")
    c.name = "phantom_autoencoder"
    # 40x48x40 to 10x12x10x4.
    c.autoencoder.channels = (16, 32)
    c.autoencoder.num_res_blocks = (1, 1)
    c.autoencoder.attention_levels = (False, False)
    c.autoencoder.latent_channels = 4
    c.crops.size = 24
    c.data.batch_size = 2
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_steps = 20
    c.train.num_steps = 600
    c.train.ema_decay = 0.99
    c.train.validate_every = 200
    c.train.validation_samples = 6
    c.train.sample_every = 200
    c.train.checkpoint_every = 200
    return c
