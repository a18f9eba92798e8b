"""The reference system (REFERENCES.md) on Cam-CAN, as published: raw token, split by slice, [0, 1] intensities.

Command:  brain-diffusion prepare configs/camcan/reference.py cohort.root=FOLDER --out shards/camcan
          brain-diffusion train configs/camcan/reference.py data.shards=shards/camcan --run runs/camcan
Weights:  brain-diffusion convert monai CHECKPOINT --out runs/published --config configs/camcan/reference.py
Expected: 532,125 steps of 401 GFLOP a picture (275 epochs of 15,480 slices). Not run here: Cam-CAN
          needs an application. Published: FID best at w=1 (0.0103), age MAE best at w=3 (4.54 years).

Two of its faults stay, because its numbers rest on them: the split by slice puts neighbouring slices
of one person on both sides, and null is -1 in a space of raw numbers. One does not: here the condition
is dropped anew for each sample at each step, theirs for good in each loader worker. On a GPU add
model.dtype=bfloat16 (theirs: float16 autocast).
"""

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("diffusion")
    c.name = "camcan_reference"
    # One token of raw numbers: [age in years, sex 1|2, slice index]; Cam-CAN codes 1 male, 2 female.
    c.covariates = (
        {"name": "age", "unit": "years", "low": 18.0, "high": 88.0},
        {"name": "sex", "values": ("M", "F")},
        {"name": "slice", "unit": "index", "low": 0.0, "high": 90.0},
    )
    c.cohort.layout = "camcan"
    with c.unlocked():
        c.cohort.sex_codes["1"] = "M"
        c.cohort.sex_codes["2"] = "F"
    # 0-255 to [0, 1]; 40 slices about the middle; 91 x 109 (x, y) to 96 x 128, which as displayed
    # (rows are y) is 128 x 96. Both axes grow, so that area and bilinear are the same.
    c.prepare.intensity = {"rule": "fixed", "low": 0.0, "high": 255.0, "dtype": "float32", "top": 1.0}
    c.prepare.slices.rule = "reference_r1"
    c.prepare.fit = {"rule": "resize", "size": (128, 96), "method": "area"}
    c.split.unit = "slice"
    c.split.train, c.split.validation, c.split.test = 0.6, 0.2, 0.2
    c.data.batch_size = 8

    # 99.43 M parameters; the rest of the network is the default of UNetConfig.
    c.model.channels = (256, 256, 512)
    c.model.num_res_blocks = (2, 2, 2)
    c.model.attention_levels = (False, False, True)
    c.model.num_head_channels = (0, 0, 512)
    c.model.norm_num_groups = 32
    c.model.norm_eps = 1e-6
    c.model.context_dim = 3
    c.conditioning.mode = "raw"
    c.conditioning.raw_null = -1.0
    c.conditioning.time_embedding = False

    c.diffusion.schedule = "linear"
    c.diffusion.beta_start, c.diffusion.beta_end = 1e-4, 2e-2
    c.diffusion.num_train_steps = 1000
    c.diffusion.prediction = "eps"
    c.diffusion.data_range = (0.0, 1.0)
    c.diffusion.clip_range = (-1.0, 1.0)

    c.optimizer.name = "adam"
    c.optimizer.learning_rate = 2.5e-5
    c.optimizer.weight_decay = 0.0
    c.optimizer.betas = (0.9, 0.999)
    c.optimizer.schedule = "constant"
    c.optimizer.warmup_steps = 0
    c.optimizer.clip_norm = 0.0
    c.train.num_steps = 532_125
    c.train.drop_probability = 0.2
    c.train.loss = "mse"
    c.train.ema_decay = 0.0
    c.train.validate_every = 1935  # an epoch
    c.train.checkpoint_every = 1935
    c.train.sample_every = 1935 * 5

    c.sample.sampler = "ddpm"
    c.sample.num_steps = 1000
    c.sample.guidance_scale = 3.0
    c.study.guidance_scales = (7.0, 5.0, 3.0, 1.0)
    c.study.reference = True  # published numbers beside ours
    return c
