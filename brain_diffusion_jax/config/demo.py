"""The config of `brain-diffusion demo`."""

from __future__ import annotations

from ml_collections import ConfigDict

from brain_diffusion_jax.config.defaults import base_config


def demo_config() -> ConfigDict:
    """A small network on two axial slices of the phantom cohort; minutes on two CPU cores."""
    c = base_config()
    c.name = "phantom"
    c.covariates = (
        {"name": "age", "unit": "years", "low": 18.0, "high": 90.0},
        {"name": "sex", "values": ("F", "M")},
        {"name": "slice", "unit": "index", "low": 0.0, "high": 90.0},
    )
    c.cohort.layout = "bids"
    c.prepare.slices.rule = "list_mm"
    c.prepare.slices.values = (20.0, 30.0)
    c.prepare.fit.rule, c.prepare.fit.size = "resize", (55, 46)
    c.split.train, c.split.validation, c.split.test = 0.6, 0.15, 0.25
    c.data.batch_size = 8
    c.data.mirror = 0.5
    # Pixels in 2x2 patches: the first level works at 28x23.
    c.model.patch_size = 2
    c.model.channels = (64, 96)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 16
    c.model.coordinates = 3
    c.diffusion.prediction = "x0"
    c.train.loss_weight = "truncated_snr"
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = 50
    c.train.num_steps = 600
    c.train.ema_decay = 0.995
    c.train.validate_every = 300
    c.train.validation_samples = 24
    c.train.checkpoint_every = 300
    c.train.sample_every = 300
    c.sample.num_steps = 20
    c.age_model.width = 0.5
    c.age_model.num_steps = 300
    c.age_model.batch_size = 32
    c.age_model.validate_every = 50
    c.study.guidance_scales = (1.0, 3.0, 5.0)
    c.study.bootstrap = 100
    return c
