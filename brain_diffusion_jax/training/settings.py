"""The section `train` of a config: what every kind reads of it, what a GAN reads, what the loop reads."""

from __future__ import annotations

from dataclasses import dataclass

from brain_diffusion_jax.errors import InputError

ON_NAN = ("stop", "skip", "rollback")


@dataclass(frozen=True)
class SharedSettings:
    """What every kind reads of the section `train`. A number of steps of 0 means never.

    power_ema: relative widths of power-function averages, snapshots of which are kept every snapshot_every
    steps for `power_ema.reconstruct`. parallelism: jit | pmap. keep_every: checkpoints at multiples of it stay.
    on_nan: stop, skip the batch, or roll back to the last checkpoint and skip. spike_factor: a loss so many
    times its running mean counts as bad (0: off). peak_tflops: of one device, for utilisation (0: from a table
    of devices).
    """

    power_ema: tuple[float, ...] = ()
    snapshot_every: int = 0
    accumulation: int = 1
    parallelism: str = "jit"
    data_parallel: int = -1
    fsdp: int = 1
    log_every: int = 50
    keep_every: int = 0
    on_nan: str = "stop"
    spike_factor: float = 0.0
    peak_tflops: float = 0.0

    def __post_init__(self) -> None:
        if self.accumulation < 1:
            raise InputError("config", "train.accumulation", self.accumulation, "1 or more")
        if self.on_nan not in ON_NAN:
            raise InputError("config", "train.on_nan", self.on_nan, f"one of {', '.join(ON_NAN)}")
        for sigma in self.power_ema:
            if not 0.0 < sigma < 0.28:
                raise InputError("config", "train.power_ema", self.power_ema, "widths between 0 and 0.28")


@dataclass(frozen=True)
class IntervalSettings(SharedSettings):
    """validation_samples: how many fixed images, noises and times are validated on. keep_last: newest checkpoints."""

    validate_every: int = 250
    validation_samples: int = 256
    checkpoint_every: int = 500
    keep_last: int = 2


@dataclass(frozen=True)
class TrainSettings(IntervalSettings):
    """All that the loop reads. ema_decay: plain EMA.

    keep_best: checkpoints of lowest validation loss. early_stopping: validations without a better loss (0: off).
    """

    num_steps: int = 1000
    ema_decay: float = 0.999
    keep_best: int = 1
    sample_every: int = 500
    early_stopping: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_steps < 1:
            raise InputError("config", "train.num_steps", self.num_steps, "1 or more")
        if not 0.0 <= self.ema_decay < 1.0:
            raise InputError("config", "train.ema_decay", self.ema_decay, "0 up to below 1")
