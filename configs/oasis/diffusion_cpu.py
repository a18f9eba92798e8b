"""OASIS-1 axial slices, a small network for two CPU cores (about an hour) or a GPU (minutes).

Command:  brain-diffusion prepare configs/oasis/diffusion_cpu.py cohort.root=FOLDER --out shards/oasis
          brain-diffusion train configs/oasis/diffusion_cpu.py data.shards=shards/oasis --run runs/oasis
Expected: see docs/results.md.
"""

from pathlib import Path

from brain_diffusion_jax.config import load_config


def get_config():
    c = load_config(Path(__file__).parent / "diffusion.py")
    c.unlock()
    c.name = "oasis_axial_cpu"
    # Five slices, MNI z = 0, 10, 20, 30, 40 mm.
    c.prepare.slices.rule = "list_mm"
    c.prepare.slices.values = (0.0, 10.0, 20.0, 30.0, 40.0)
    c.split.train, c.split.validation, c.split.test = 0.7, 0.1, 0.2
    # Pixels in 4x4 patches: the first level works at 28x23.
    c.model.patch_size = 4
    c.model.channels = (96, 128)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 16
    c.model.dtype = "float32"
    # Heads in MNI space lie alike: telling the network where a pixel is saves it most of the learning.
    c.model.coordinates = 3
    c.diffusion.prediction = "x0"
    c.train.loss_weight = "truncated_snr"
    c.data.batch_size = 8
    c.optimizer.learning_rate = 5e-4
    c.optimizer.warmup_steps = 100
    c.train.num_steps = 4000
    c.train.ema_decay = 0.998
    c.train.validate_every = 500
    c.train.sample_every = 500
    c.sample.num_steps = 10  # best of those tried on this model: docs/results.md, "Samplers against steps"
    c.train.checkpoint_every = 500
    return c
