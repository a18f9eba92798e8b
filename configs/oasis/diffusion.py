"""OASIS-1 axial slices, the reference network (99 M parameters), for one GPU.

Command:  brain-diffusion prepare configs/oasis/diffusion.py cohort.root=FOLDER --out shards/oasis
          brain-diffusion train configs/oasis/diffusion.py data.shards=shards/oasis --run runs/oasis
Expected: not yet run (no GPU was lent to the session that wrote it); the small sibling
          configs/oasis/diffusion_cpu.py has measured results in docs/results.md.
"""

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("diffusion")
    c.name = "oasis_axial"
    c.covariates = (
        {"name": "age", "unit": "years", "low": 18.0, "high": 96.0},
        {"name": "sex", "values": ("F", "M")},
        {"name": "slice", "unit": "index", "low": 0.0, "high": 90.0},
    )
    c.cohort.layout = "oasis1"
    c.cohort.keep.cdr = 0
    c.cohort.keep.qc = "ok"
    # Stored value = 100 x intensity, as in the published uint8 copies; white matter peaks near 105.
    c.prepare.intensity.update({"rule": "fixed", "low": 0.0, "high": 2.55, "dtype": "uint8"})
    c.prepare.slices.start, c.prepare.slices.stop = 25, 65
    c.split.seed = 1
    # Tissue fills [0, 0.45] of the stored range: stretch it over the network's [-1, 1].
    c.diffusion.data_range = (-1.0, 3.0)
    c.data.batch_size = 16
    c.data.mirror = 0.5
    c.model.dtype = "bfloat16"
    c.optimizer.learning_rate = 1e-4
    c.optimizer.warmup_steps = 1000
    c.train.num_steps = 100_000
    c.train.ema_decay = 0.9995
    c.train.validate_every = 2000
    c.train.sample_every = 5000
    c.train.checkpoint_every = 5000
    # Ventricles and sulci at MNI z = 20 mm; threshold in the unit of the stored intensities.
    c.study.dark_fraction = {"rows": (30, 85), "cols": (28, 63), "threshold": 0.45, "slice": 46}
    c.sample.guidance_scale = 1.0  # more exaggerates ageing: docs/results.md
    return c
