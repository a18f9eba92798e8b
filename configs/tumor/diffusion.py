"""Class-conditional synthesis of tumour pictures, 64x64, on a picture set (after Nguyen et al. 2023).

Command:  brain-diffusion prepare configs/tumor/diffusion.py pictures.root=PICTURES.npz --out shards/tumor
          brain-diffusion train configs/tumor/diffusion.py data.shards=shards/tumor --run runs/tumor
          brain-diffusion gate runs/tumor --classifier runs/tumor-class --shards shards/tumor --out runs/tumor/gate
Expected: 20 minutes of a CPU core, for comparing arms; scores and every command: docs/results.md.

data.batch_size=32 train.num_steps=4000 halves the distance to real pictures in an hour. Arms with the same betas:
conditioning.mode=none model.context_dim=None data.class_balance= (unconditional, classes as often as in the data);
pictures.crop=True pictures.tilt=True at `prepare` (preprocessed). The classifier of the gate is classifier.py, the
baseline gan.py. The classes and their spelling are those of the source.
"""

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("diffusion")
    c.name = "tumor"
    classes = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
    c.covariates = ({"name": "class", "values": classes},)
    c.pictures.size = 64
    c.split.train, c.split.validation, c.split.test = 0.6, 0.2, 0.2
    c.split.stratify = ("class",)
    c.data.class_balance = "class"
    c.data.batch_size = 8
    # Small enough for two CPU cores: pixels in 4x4 patches, the first level at 16x16.
    c.model.patch_size = 4
    c.model.channels = (96, 128)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 16
    c.model.coordinates = 3
    c.model.context_dim = 64
    c.conditioning.width = 64
    c.diffusion.prediction = "x0"
    c.train.loss_weight = "truncated_snr"
    c.train.num_steps = 3500
    c.train.drop_probability = 0.15
    c.train.ema_decay = 0.998
    c.train.validate_every = c.train.checkpoint_every = c.train.sample_every = 500
    c.optimizer.learning_rate = 8e-4
    c.optimizer.warmup_steps = 100
    c.sample.guidance_scale = 2.0
    c.sample.num_steps = 50
    return c
