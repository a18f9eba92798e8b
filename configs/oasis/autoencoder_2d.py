"""An autoencoder of OASIS-1 axial slices, four times down: 109x91 to 28x23x4.

Command:  brain-diffusion prepare configs/oasis/diffusion_cpu.py cohort.root=FOLDER --out shards/oasis
          brain-diffusion train configs/oasis/autoencoder_2d.py data.shards=shards/oasis --run runs/oasis-ae2d
Expected: 34 minutes of one core; on 45 held-out people PSNR 41.6 dB (38.6 in the brain), power 0.81 to 1.00 of the real
          one up to 0.62 of Nyquist, 0.12 to 0.30 above (docs/results.md).
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("autoencoder", prepared_as=Path(__file__).parent / "diffusion_cpu.py")
    c.name = "oasis_autoencoder_2d"
    c.autoencoder.channels = (32, 64)
    c.autoencoder.num_res_blocks = (2, 2)
    c.autoencoder.attention_levels = (False, False)
    c.autoencoder.latent_channels = 4
    c.crops.size = 64
    c.crops.share = 0.9
    c.loss.mse = 10.0
    c.loss.laplacian = 0.5
    c.loss.kl = 1e-6
    # The discriminator brings the fine structure that L1 leaves out.
    c.loss.adversarial = 0.01
    c.loss.adversarial_from = 0.5
    c.data.batch_size = 8
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = 100
    c.train.num_steps = 4000
    c.train.ema_decay = 0.998
    c.train.validate_every = 500
    c.train.sample_every = 1000
    c.train.checkpoint_every = 500
    return c
