"""Phantom volumes of 4 mm with the true volumes of their ventricles and brains as conditions.

Command:  brain-diffusion phantom --people 60 --out data/phantom
          brain-diffusion prepare configs/phantom/volumes.py cohort.root=data/phantom --out shards/phantom_volumes
          brain-diffusion train-age configs/phantom/volumes.py data.shards=shards/phantom_volumes --run runs/phantom-age
Expected: 40x48x40, a second a brain on an idle core.
"""

from brain_diffusion_jax.config.demo_volumes import volumes_config as get_config

__all__ = ["get_config"]
