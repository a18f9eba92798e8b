"""A reader of ages for OASIS-1 volumes at 2 mm, for two CPU cores.

Command:  brain-diffusion train configs/oasis/age_2mm.py data.shards=shards/o2 --run runs/oasis-age2mm
Expected: 7 minutes of one core; MAE on 45 held-out people 7.5 years, r 0.93 (docs/results.md).
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("age", prepared_as=Path(__file__).parent / "volumes_2mm.py")
    c.name = "oasis_age_2mm"
    c.age_model.backbone = "small_volume_cnn"
    # White matter is stored near 225 of 255.
    c.age_model.backbone_options = {"tissue_bins": 10, "tissue_low": 0.03, "tissue_high": 1.0}
    c.age_model.loss = "l1"
    c.age_model.balance = 0.0
    c.age_model.dropout = 0.2
    c.age_model.batch_size = 8
    c.age_model.num_steps = 450
    c.age_model.validate_every = 100
    return c
