"""A 3D LSGAN (Mao et al. 2017) of OASIS-1 volumes at 2 mm: a baseline of Pinaya et al. 2022, at sizes of our own.

Command:  brain-diffusion prepare configs/oasis/volumes_2mm.py cohort.root=FOLDER --measure volumes --out shards/o2
          brain-diffusion train configs/oasis/lsgan_2mm.py data.shards=shards/o2 --run runs/oasis-lsgan2mm
          brain-diffusion study runs/oasis-latent2mm --baselines runs/oasis-lsgan2mm
Expected: 18 minutes of one core for 160 steps of 2 volumes, a short training; figures in docs/results.md. More steps:
          gan.num_steps.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("gan", prepared_as=Path(__file__).parent / "volumes_2mm.py")
    c.name = "oasis_lsgan_2mm"
    c.gan.objective = "lsgan"
    c.gan.batch_size = 2
    c.gan.num_steps = 160
    # A long average of few steps remembers the start.
    c.gan.ema_decay = 0.97
    c.train.log_every = 10
    c.train.validate_every = 100
    c.train.validation_samples = 8
    c.train.checkpoint_every = 50
    return c
