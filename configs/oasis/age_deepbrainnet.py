"""The fine-tuning of DeepBrainNet in the reference system (REFERENCES.md): MSE, Adam 1e-4, reduce on plateau, batch 8.

Command:  brain-diffusion convert keras DBN_model.h5 --out runs/deepbrainnet
          brain-diffusion train-age configs/oasis/age_deepbrainnet.py age_model.pretrained=runs/deepbrainnet \
              data.shards=shards/oasis --run runs/deepbrainnet-tuned
Expected: not run (the published weights cannot be had here). Theirs, split by slice: MAE 3.96 years a slice.
Differences: people, not slices, are split, and the learning rate falls on plateaus of the validation
error, not of the training loss. Steps are 100 epochs of 15,480 slices.
"""

from brain_diffusion_jax.config import base_config


def get_config():
    c = base_config("age")
    c.name = "age_r1"
    c.prepare.slices.rule = "reference_r1"
    c.prepare.fit.rule, c.prepare.fit.size = "resize", (96, 128)
    c.prepare.intensity.rule, c.prepare.intensity.low, c.prepare.intensity.high = "fixed", 0.0, 255.0
    a = c.age_model
    a.backbone, a.dense, a.dropout = "vgg16", (1024,), 0.8
    a.loss, a.balance = "mse", 0.0
    for name in a.augmentation:
        a.augmentation[name] = 0.0
    a.optimizer, a.learning_rate, a.weight_decay, a.clip_norm = "adam", 1e-4, 0.0, 0.0
    a.schedule, a.plateau_factor, a.plateau_patience = "plateau", 0.1, 5
    a.ema_decay = 0.0
    a.batch_size, a.num_steps, a.validate_every = 8, 193_500, 1935
    return c
