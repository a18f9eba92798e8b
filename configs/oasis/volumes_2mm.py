"""How OASIS-1 becomes volumes of 2 mm: what the kinds of volume models take with `prepared_as`.

Command:  brain-diffusion prepare configs/oasis/volumes_2mm.py cohort.root=FOLDER --measure volumes --out shards/o2
Expected: 244 scans of 228 people in 4 minutes on a busy core, 80x96x80, 90 MB.
"""

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config()
    c.name = "oasis_volumes_2mm"
    c.covariates = (
        {"name": "sex", "values": ("F", "M")},
        {"name": "age", "unit": "years", "low": 18.0, "high": 96.0},
    )
    c.cohort.layout = "oasis1"
    c.cohort.keep.cdr = 0
    c.cohort.keep.qc = "ok"
    c.prepare.kind = "volumes"
    # The published copies store 100 x intensity: unit = min(stored / 120, 1), white matter near 0.88.
    c.prepare.intensity.update({"rule": "fixed", "low": 0.0, "high": 1.2, "dtype": "uint8"})
    # Of 91x109x91; 2 of a million voxels with tissue lie outside.
    c.prepare.volume.size, c.prepare.volume.offset = (80, 96, 80), (6, 6, 0)
    c.split.seed = 1
    c.split.train, c.split.validation, c.split.test = 0.7, 0.1, 0.2
    return c
