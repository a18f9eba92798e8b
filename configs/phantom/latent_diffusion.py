"""Latent diffusion of the phantom volumes, for two CPU cores (minutes), on the autoencoder of autoencoder.py.

Command:  brain-diffusion train configs/phantom/latent_diffusion.py data.shards=shards/phantom_volumes \
              codec.autoencoder=runs/phantom-ae --run runs/phantom-latent
          brain-diffusion sample runs/phantom-latent --set age=70 sex=F ventricles=40000 brain=0.8 --out volumes
Expected: 600 steps were as soft as the autoencoder, and ventricles grew with what is asked; the 500 that it has now are
          not yet measured.
"""

from brain_diffusion_jax.config.demo_volumes import latent_config as get_config

__all__ = ["get_config"]
