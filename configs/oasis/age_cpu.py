"""The age regressor of the OASIS-1 slices, for two CPU cores (minutes).

Command:  brain-diffusion prepare configs/oasis/age_cpu.py cohort.root=FOLDER --out shards/oasis_age
          brain-diffusion train-age configs/oasis/age_cpu.py data.shards=shards/oasis_age --run runs/age
Expected: 13 minutes on a busy core; MAE on 45 held-out people 6.4 years a person (6.2 bias corrected),
          7.9 a slice. 600 more steps (age_model.pretrained=runs/age age_model.learning_rate=0.0015
          age_model.num_steps=600 age_model.validate_every=150 --run runs/age2): 6.2 (6.0) and 7.5.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("age", prepared_as=Path(__file__).parent / "diffusion_cpu.py")
    c.name = "age_oasis_cpu"
    # The people of diffusion_cpu.py in the same splits, but 40 slices of each instead of 5.
    c.prepare.slices.rule = "range_index"
    c.prepare.slices.start, c.prepare.slices.stop = 25, 65
    # White matter is stored near 105 of 255.
    c.age_model.backbone_options = {"tissue_bins": 10, "tissue_low": 0.03, "tissue_high": 0.5}
    c.age_model.loss = "l1"
    c.age_model.balance = 0.0
    c.age_model.dropout = 0.2
    c.age_model.batch_size = 48
    c.age_model.num_steps = 1200
    c.age_model.validate_every = 200
    return c
