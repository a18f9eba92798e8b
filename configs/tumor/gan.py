"""The WGAN-GP baseline on the tumour pictures: about as much computing as the diffusion model of diffusion.py.

Command:  brain-diffusion prepare configs/tumor/gan.py pictures.root=PICTURES.npz --out shards/tumor
          brain-diffusion train-gan configs/tumor/gan.py data.shards=shards/tumor --run runs/tumor-gan
Expected: about 55 minutes of a CPU core; scores: docs/results.md.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("gan", prepared_as=Path(__file__).parent / "diffusion.py")
    c.name = "tumor"
    c.data.class_balance = "class"
    c.gan.channels = (64, 32, 16)
    c.gan.batch_size = 16
    c.gan.critic_steps = 3
    c.gan.num_steps = 3000
    c.gan.learning_rate = 5e-4
    c.gan.ema_decay = 0.995
    c.train.validate_every = 500
    return c
