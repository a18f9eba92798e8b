"""The `train` section of a config as a typed object."""

from __future__ import annotations

from dataclasses import dataclass

from brain_diffusion_jax.errors import InputError

ON_NAN = ("stop", "skip", "rollback")


@dataclass(frozen=True)
class TrainSettings:
    """TrainSettings(**config.train). A number of steps of 0 means never.

    drop_probability: of the whole condition; drop_each: of one covariate, on top. ema_decay: plain EMA;
    power_ema: relative widths of power-function averages, snapshots of which are kept every snapshot_every
    steps for `power_ema.reconstruct`. on_nan: stop, skip the batch, or roll back
    to the last checkpoint and skip. spike_factor: a loss so many times its running mean counts as bad
    (0: off). early_stopping: validations without a better loss (0: off). validation_samples: fixed
    pictures, noises and times. peak_tflops: of one device, for utilisation (0: from a table of devices).
    """

    num_steps: int = 1000
    drop_probability: float = 0.2
    drop_each: float = 0.0
    loss: str = "mse"
    loss_weight: str = "none"
    ema_decay: float = 0.999
    power_ema: tuple[float, ...] = ()
    snapshot_every: int = 0
    accumulation: int = 1
    parallelism: str = "jit"
    data_parallel: int = -1
    fsdp: int = 1
    log_every: int = 50
    validate_every: int = 250
    validation_samples: int = 256
    checkpoint_every: int = 500
    keep_last: int = 2
    keep_best: int = 1
    keep_every: int = 0
    sample_every: int = 500
    on_nan: str = "stop"
    spike_factor: float = 0.0
    early_stopping: int = 0
    peak_tflops: float = 0.0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise InputError("config", "train.num_steps", self.num_steps, "1 or more")
        if self.accumulation < 1:
            raise InputError("config", "train.accumulation", self.accumulation, "1 or more")
        if self.on_nan not in ON_NAN:
            raise InputError("config", "train.on_nan", self.on_nan, f"one of {', '.join(ON_NAN)}")
        for name in ("drop_probability", "drop_each"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError("config", f"train.{name}", getattr(self, name), "0 to 1")
        if not 0.0 <= self.ema_decay < 1.0:
            raise InputError("config", "train.ema_decay", self.ema_decay, "0 up to below 1")
        for sigma in self.power_ema:
            if not 0.0 < sigma < 0.28:
                raise InputError("config", "train.power_ema", self.power_ema, "widths between 0 and 0.28")
