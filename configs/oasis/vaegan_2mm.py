"""A 3D VAE-GAN (Larsen et al. 2016) of OASIS-1 volumes at 2 mm: a baseline of Pinaya et al. 2022, at sizes of our own.

Command:  brain-diffusion prepare configs/oasis/volumes_2mm.py cohort.root=FOLDER --measure volumes --out shards/o2
          brain-diffusion train configs/oasis/vaegan_2mm.py data.shards=shards/o2 --run runs/oasis-vaegan2mm
          brain-diffusion study runs/oasis-latent2mm --baselines runs/oasis-vaegan2mm
Expected: not yet run, nor timed. About 10 minutes of a core at 32 GFLOP/s, 95 GFLOP a volume and step by hand count:
          100 steps of 2 volumes, a short training. More steps: gan.num_steps.
"""

from pathlib import Path

from brain_diffusion_jax.config import load_config


def get_config():
    c = load_config(Path(__file__).parent / "lsgan_2mm.py")
    c.name = "oasis_vaegan_2mm"
    c.gan.objective = "vae-gan"
    c.gan.num_steps = 100
    c.gan.ema_decay = 0.95
    return c
