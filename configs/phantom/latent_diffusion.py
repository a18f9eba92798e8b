"""Latent diffusion of the phantom volumes (prepared_as volumes.py), for two CPU cores, on that of autoencoder.py.

Command:  brain-diffusion train configs/phantom/latent_diffusion.py data.shards=shards/phantom_volumes \
              codec.autoencoder=runs/phantom-ae --run runs/phantom-latent
          brain-diffusion sample runs/phantom-latent --set age=70 sex=F ventricles=40000 brain=0.8 --out volumes
Expected: (on an autoencoder of 22.4 dB) requested against measured ventricles of 13 held-out people at w = 2: r 0.91,
          slope 0.99, 9,400 mm3 too small, which is the autoencoder's doing; brain fraction r 0.98. Soft, as that is.
"""

from brain_diffusion_jax.config.demo_volumes import latent_config as get_config

__all__ = ["get_config"]
