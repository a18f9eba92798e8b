"""An autoencoder of the phantom volumes, for two CPU cores (minutes).

Command:  brain-diffusion phantom --people 60 --out data/phantom
          brain-diffusion prepare configs/phantom/volumes.py cohort.root=data/phantom --out shards/phantom_volumes
          brain-diffusion train configs/phantom/autoencoder.py data.shards=shards/phantom_volumes --run runs/phantom-ae
Expected: 600 steps of it reached 23.3 dB on held-out people (a low-pass of as many cosines 23.5, PCA 23.6); the 300
          that it has now, for `brain-diffusion demo --volumes`, are not yet measured.
"""

from brain_diffusion_jax.config.demo_volumes import autoencoder_config as get_config

__all__ = ["get_config"]
