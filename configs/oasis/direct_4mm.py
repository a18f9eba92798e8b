"""Diffusion of OASIS-1 volumes at 4 mm without an autoencoder, on patches of 4x4x4 voxels.

Command:  brain-diffusion prepare configs/oasis/volumes_4mm.py cohort.root=FOLDER --measure volumes --out shards/o4
          brain-diffusion train configs/oasis/direct_4mm.py data.shards=shards/o4 --run runs/oasis-direct4mm
          brain-diffusion sample runs/oasis-direct4mm --set age=70 sex=F ventricles=40000 --out volumes
          model.patches=haar gives the network the wavelets of each patch; with model.patch_size=2 those of
          Friedrich et al. 2024, at eight times the cost.
Expected: not yet run.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("diffusion", prepared_as=Path(__file__).parent / "volumes_4mm.py")
    c.name = "oasis_direct_4mm"
    c.model.patch_size = 4
    c.model.channels = (96, 128)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 16
    c.model.coordinates = 3
    # Tokens with learned nulls, and the numbers as planes: the image, and sex, age, ventricles, brain.
    c.conditioning.planes = True
    c.model.in_channels = 1 + 4
    c.diffusion.prediction = "x0"
    c.train.loss_weight = "truncated_snr"
    c.train.drop_probability = 0.1
    c.train.drop_each = 0.1
    c.data.batch_size = 4
    c.optimizer.learning_rate = 5e-4
    c.optimizer.warmup_steps = 100
    c.train.num_steps = 4000
    c.train.ema_decay = 0.999
    c.train.validate_every = 500
    c.train.validation_samples = 24
    c.train.sample_every = 1000
    c.train.checkpoint_every = 500
    c.sample.num_steps = 10
    c.sample.guidance_scale = 1.5
    return c
