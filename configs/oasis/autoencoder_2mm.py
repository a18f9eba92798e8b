"""An autoencoder of OASIS-1 volumes at 2 mm, eight times down: 80x96x80 to 10x12x10x8, 9,600 numbers.

Command:  brain-diffusion prepare configs/oasis/volumes_2mm.py cohort.root=FOLDER --measure volumes --out shards/o2
          brain-diffusion train configs/oasis/autoencoder_2mm.py data.shards=shards/o2 --run runs/oasis-ae2mm
Expected: about 65 minutes of one core; 47 scans of held-out people: PSNR 26.4 dB, 22.6 in the brain, gradient energy
          0.82, no collapsed channel; a low-pass of as many cosines has 23.9 and 20.3 (docs/results.md). 27 and 23.5
          are to be reached.
"""

from pathlib import Path

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("autoencoder", prepared_as=Path(__file__).parent / "volumes_2mm.py")
    c.name = "oasis_autoencoder_2mm"
    # Blocks of 2x2x2 voxels as channels, then two halvings: 2.97 M parameters.
    c.autoencoder.channels = (32, 64, 128)
    c.autoencoder.latent_channels = 8
    # Crops cost 18 % of a volume, and what is right on them is right on volumes: norms see one position at a time.
    c.crops.size = 48
    c.crops.share = 0.99
    c.loss.mse = 20.0
    c.loss.laplacian = 0.3
    c.data.batch_size = 2
    # 1.7 dB ahead of AdamW (1e-3) after 100 steps, and of each step it takes a third.
    c.optimizer.name = "muon"
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_steps = 100
    c.train.num_steps = 2700
    c.train.ema_decay = 0.998
    c.train.validate_every = 100
    c.train.validation_samples = 16
    c.train.sample_every = 1500
    c.train.checkpoint_every = 100
    return c
