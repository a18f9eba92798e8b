"""The configs of `brain-diffusion demo --volumes`, which configs/phantom/ shows as files."""

from __future__ import annotations

from ml_collections import ConfigDict

from brain_diffusion_jax.config.load import base_config


def volumes_config() -> ConfigDict:
    """How the phantoms become volumes of 4 mm; also of the regressor that reads ages from them."""
    c = base_config()
    c.name = "phantom_volumes"
    c.covariates = (
        {"name": "sex", "values": ("F", "M")},
        {"name": "age", "unit": "years", "low": 18.0, "high": 90.0},
        {"name": "ventricles", "unit": "MNI-scaled mm3", "low": 1_000.0, "high": 100_000.0},
        {"name": "brain", "unit": "fraction", "low": 0.7, "high": 0.95},
    )
    c.cohort.layout = "bids"
    # What the phantoms were made with; --measure volumes measures them instead.
    c.cohort.columns.ventricles, c.cohort.columns.brain = "ventricles_mm3", "brain_fraction"
    c.prepare.kind = "volumes"
    c.prepare.intensity.update({"rule": "fixed", "low": 0.0, "high": 1.2, "dtype": "uint8"})
    c.prepare.volume.size, c.prepare.volume.offset = (80, 96, 80), (6, 6, 0)
    c.prepare.volume.spacing_mm = 4.0
    c.split.train, c.split.validation, c.split.test = 0.6, 0.15, 0.25
    c.age_model.backbone = "small_volume_cnn"
    c.age_model.backbone_options = {"tissue_bins": 10, "tissue_low": 0.03, "tissue_high": 1.0}
    c.age_model.loss = "l1"
    c.age_model.batch_size = 8
    c.age_model.num_steps = 150
    c.age_model.validate_every = 50
    return c


def autoencoder_config() -> ConfigDict:
    """An autoencoder of these volumes: 40x48x40 to 10x12x10x4."""
    c = base_config("autoencoder", prepared_as=volumes_config())
    c.name = "phantom_autoencoder"
    c.autoencoder.channels = (16, 32)
    c.autoencoder.num_res_blocks = (1, 1)
    c.autoencoder.attention_levels = (False, False)
    c.autoencoder.latent_channels = 4
    c.crops.size = 24
    c.crops.share = 0.95
    c.loss.mse = 20.0
    c.loss.laplacian = 0.3
    c.data.batch_size = 2
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_steps = 20
    c.train.num_steps = 300
    c.train.ema_decay = 0.98
    c.train.validate_every = 150
    c.train.validation_samples = 6
    c.train.sample_every = 0  # a program more to compile; the report has pictures
    c.train.checkpoint_every = 150
    return c


def latent_config() -> ConfigDict:
    """Diffusion of the latents of that autoencoder."""
    c = base_config("latent_diffusion", prepared_as=volumes_config())
    c.name = "phantom_latent"
    c.model.channels = (32, 64)
    c.model.num_res_blocks = (1, 1)
    c.model.attention_levels = (False, True)
    c.model.num_head_channels = (0, 32)
    c.model.norm_num_groups = 8
    c.model.coordinates = 3
    c.conditioning.planes = True
    c.diffusion.prediction = "x0"
    c.train.loss_weight = "truncated_snr"
    c.data.batch_size = 4
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_steps = 50
    c.train.num_steps = 500
    c.train.ema_decay = 0.98
    c.train.validate_every = 250
    c.train.validation_samples = 6
    c.train.sample_every = 0
    c.train.checkpoint_every = 250
    c.sample.num_steps = 10
    c.sample.batch_size = 16
    c.sample.guidance_scale = 1.5
    c.study.guidance_scales = (1.0, 2.0)
    c.study.bootstrap = 100
    c.study.pairs = 50
    return c
