"""Latent diffusion of OASIS-1 volumes at 2 mm, on the autoencoder of autoencoder_2mm.py.

Command:  brain-diffusion train configs/oasis/latent_2mm.py data.shards=shards/o2 codec.autoencoder=runs/oasis-ae2mm \
              --run runs/oasis-latent2mm
          brain-diffusion sample runs/oasis-latent2mm --set age=70 sex=F ventricles=40000 --out volumes
Expected: 57 minutes of one core; 47 held-out conditions at w = 1.5: ventricles r 0.94 (slope 1.31; 1.15 at w = 1),
          brain r 0.93, age read with r 0.90, FD of the reader's features 1.2 (real 1.0). Soft: gradient energy 0.79
          (docs/results.md).
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("latent_diffusion", prepared_as=Path(__file__).parent / "volumes_2mm.py")
    c.name = "oasis_latent_2mm"
    c.model.channels = (64, 128)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 16
    c.model.coordinates = 3
    # Tokens with learned nulls, and the numbers as planes, as in Pinaya et al. 2022.
    c.conditioning.planes = True
    # At low noise v is the noise, which a network can pass on exactly; x0 it would have to copy.
    c.diffusion.prediction = "v"
    c.train.loss_weight = "none"
    c.train.drop_probability = 0.1
    c.train.drop_each = 0.1
    c.data.batch_size = 4
    c.optimizer.learning_rate = 8e-4
    c.optimizer.warmup_steps = 100
    c.train.num_steps = 2400
    c.train.ema_decay = 0.998
    c.train.validate_every = 500
    c.train.validation_samples = 24
    c.train.sample_every = 0
    c.train.checkpoint_every = 500
    c.sample.num_steps = 20
    c.sample.guidance_scale = 1.5
    return c
