"""All that an autoencoder reads of a config."""

from __future__ import annotations

from dataclasses import dataclass, field

from brain_diffusion_jax.data.shards.settings import BatchedShards
from brain_diffusion_jax.errors import require
from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig
from brain_diffusion_jax.models.patch_discriminator import DiscriminatorConfig
from brain_diffusion_jax.tasks.autoencoder.augmentation import IntensityAndPlace
from brain_diffusion_jax.tasks.run_config import RunConfig
from brain_diffusion_jax.training.optimizer import OptimizerSettings
from brain_diffusion_jax.training.settings import TrainSettings

NETWORKS = RUN, MEDICALNET, DEEPBET = "run", "medicalnet", "deepbet"  # that give perceptual features


@dataclass(frozen=True)
class RangedAutoencoder(AutoencoderConfig):
    """data_range: what the network sees of black and white."""

    data_range: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "data_range", tuple(float(v) for v in self.data_range))
        right = len(self.data_range) == 2 and self.data_range[0] < self.data_range[1]
        require(right, "autoencoder.data_range", self.data_range, "two numbers, low < high")


@dataclass(frozen=True)
class AutoencoderLoss:
    """Weights of the terms, on images in [0, 1]; 0 is off.

    laplacian: L1 on a pyramid of three levels, which serves where no network gives features. kl: of nats a sample,
    summed over the latent. perceptual: of features of perceptual_network: "run", the regressor in run folder
    perceptual_run (kind age); of volumes also "medicalnet", by the file perceptual_weights, or "deepbet", which comes
    with the extra of that name. A regressor of 2D images sees random slices of a volume, perceptual_share of those
    along each axis. A run adds perceptual_version, of that network's weights, and keeps it.
    adversarial: of the patch discriminator, from adversarial_from of the steps on (0 to 1);
    critic_learning_rate: the discriminator's, constant.
    collapse_from: validations from this step on end the run where every channel of the latent is collapsed.
    """

    l1: float = 1.0
    mse: float = 0.0
    laplacian: float = 1.0
    kl: float = 1e-7
    perceptual: float = 0.0
    perceptual_network: str = RUN
    perceptual_run: str = ""
    perceptual_weights: str = ""
    perceptual_share: float = 0.25
    perceptual_version: str = ""
    adversarial: float = 0.0
    adversarial_from: float = 0.25
    critic_learning_rate: float = 1e-4
    collapse_from: int = 500

    def __post_init__(self) -> None:
        for name in ("l1", "mse", "laplacian", "kl", "perceptual", "adversarial"):
            require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "0 or more")
        require(self.l1 + self.mse + self.laplacian > 0, "loss", "no l1, mse or laplacian", "one of them above 0")
        network, weights = self.perceptual_network, self.perceptual_weights
        require(network in NETWORKS, "loss.perceptual_network", network, f"one of {', '.join(NETWORKS)}")
        named = network != RUN or bool(self.perceptual_run) or not self.perceptual
        require(named, "loss.perceptual_run", "nothing", "a run folder of kind age, or another perceptual_network")
        fits = bool(weights) == (network == MEDICALNET) or not (weights or self.perceptual)
        require(fits, "loss.perceptual_weights", weights or "nothing", f"a file with {MEDICALNET}, nothing without")
        require(0 < self.perceptual_share <= 1, "loss.perceptual_share", self.perceptual_share, "above 0, to 1")
        inside = 0 <= self.adversarial_from < 1
        require(inside, "loss.adversarial_from", self.adversarial_from, "0 up to below 1")


@dataclass(frozen=True)
class Crops:
    """size: pixels along each axis of a random crop, at most the image's (0: whole images from the first step on).

    share: of the steps that see crops; the last ones see whole images, whose norms have other statistics.
    """

    size: int = 0
    share: float = 0.8

    def __post_init__(self) -> None:
        require(self.size >= 0, "crops.size", self.size, "0 or more")
        require(0 <= self.share < 1, "crops.share", self.share, "0 up to below 1: whole images come last")


@dataclass(frozen=True)
class LatentStatistics:
    """What a finished training writes here: of each latent channel over the whole training set.

    mean, std: of draws from the posteriors. kl: nats a latent number. spread: deviation of the posterior means over
    the mean posterior deviation. weights: the version of the weights that these numbers are of.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    kl: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    weights: str = ""


@dataclass(frozen=True)
class AutoencoderRunConfig(RunConfig):
    """An autoencoder: its data, networks, loss, crops, optimizer and training. latent: see `LatentStatistics`."""

    data: BatchedShards = field(default_factory=BatchedShards)
    autoencoder: RangedAutoencoder = field(default_factory=RangedAutoencoder)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    loss: AutoencoderLoss = field(default_factory=AutoencoderLoss)
    crops: Crops = field(default_factory=Crops)
    augmentation: IntensityAndPlace = field(default_factory=IntensityAndPlace)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    latent: LatentStatistics = field(default_factory=LatentStatistics)


CONFIG = AutoencoderRunConfig
