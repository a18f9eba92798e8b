"""Nguyen et al. 2023 as published, faults included: label as a number, no null, guidance or EMA; 32x32, two classes.

Command:  brain-diffusion prepare configs/tumor/reference.py pictures.root=FOLDER --out shards/tumor-r4
          brain-diffusion train configs/tumor/reference.py data.shards=shards/tumor-r4 --run runs/tumor-r4
Expected: a GPU's work: 600 epochs of about 2,930 pictures in batches of 64 are 27,500 steps. Published: FID 57.07,
          IS 3.14, computed on inputs of the wrong range: a record, not a target.

FOLDER holds one folder for each of the two classes. Raw arm: diffusion.beta_end=0.02 and pictures.crop=False
pictures.tilt=False at `prepare`; preprocessed arm: as below. Matched arms of our table change only one thing and
keep beta_end. Different here: groups in place of batch statistics (see models/scalar_label.py), and a real crop.
"""

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("diffusion")
    c.name = "tumor_reference"
    c.covariates = ({"name": "class", "values": ("no_tumor", "tumor")},)
    c.pictures.size = 32
    c.pictures.crop = True
    c.pictures.tilt = True
    c.split.train, c.split.validation, c.split.test = 0.8, 0.1, 0.1
    c.split.stratify = ("class",)
    c.conditioning.mode = "scalar"
    c.conditioning.raw_null = 0.0
    c.model.channels = (64, 128, 256, 512, 1024)
    c.diffusion.schedule = "linear"
    c.diffusion.beta_start = 1e-4
    c.diffusion.beta_end = 0.04
    c.diffusion.prediction = "eps"
    c.data.batch_size = 64
    c.optimizer.name = "adam"
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = 0
    c.optimizer.schedule = "constant"
    c.optimizer.clip_norm = 0.0
    c.train.num_steps = 27_500
    c.train.drop_probability = 0.0
    c.train.loss = "mse"
    c.train.ema_decay = 0.0
    c.train.validate_every = c.train.checkpoint_every = c.train.sample_every = 1000
    c.sample.sampler = "ddpm"
    c.sample.num_steps = 1000
    c.sample.guidance_scale = 1.0
    return c
