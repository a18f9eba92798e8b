"""Phantom volumes of 4 mm with the true volumes of their ventricles and brains as conditions.

Command:  brain-diffusion phantom --people 60 --out data/phantom
          brain-diffusion prepare configs/phantom/volumes.py cohort.root=data/phantom --out shards/phantom_volumes
Expected: 40x48x40, a second a brain on an idle core.
"""

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config()
    c.name = "phantom_volumes"
    c.covariates = (
        {"name": "sex", "values": ("F", "M")},
        {"name": "age", "unit": "years", "low": 18.0, "high": 90.0},
        {"name": "ventricles", "unit": "MNI-scaled mm3", "low": 5_000.0, "high": 100_000.0},
        {"name": "brain", "unit": "fraction", "low": 0.7, "high": 0.95},
    )
    c.cohort.layout = "bids"
    # What the phantoms were made with; --measure volumes measures them instead.
    c.cohort.columns.ventricles, c.cohort.columns.brain = "ventricles_mm3", "brain_fraction"
    c.prepare.kind = "volumes"
    c.prepare.intensity.update({"rule": "fixed", "low": 0.0, "high": 1.2, "dtype": "uint8"})
    c.prepare.volume.size, c.prepare.volume.offset = (80, 96, 80), (6, 6, 0)
    c.prepare.volume.spacing_mm = 4.0
    return c
