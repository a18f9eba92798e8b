"""An autoencoder of the phantom volumes (prepared_as volumes.py), for two CPU cores (minutes).

Command:  brain-diffusion phantom --people 60 --out data/phantom
          brain-diffusion prepare configs/phantom/volumes.py cohort.root=data/phantom --out shards/phantom_volumes
          brain-diffusion train configs/phantom/autoencoder.py data.shards=shards/phantom_volumes --run runs/phantom-ae
Expected: 1.5 CPU-minutes; 23.0 dB on held-out people (a low-pass of as many cosines 23.6, PCA 23.7, training mean
          22.6): steps for a demonstration, no more. Ventricles come out 9,700 mm3 too small, with r 0.98.
"""

from brain_diffusion_jax.config.demo_volumes import autoencoder_config as get_config

__all__ = ["get_config"]
