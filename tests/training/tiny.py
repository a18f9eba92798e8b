"""The smallest tasks that have every part, one of each kind; endless data without files."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Categorical, Continuous, Schema
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.models.autoencoder import Autoencoder
from brain_diffusion_jax.models.backbones.trunk import Trunk
from brain_diffusion_jax.models.deep_brain_net import AgeNetwork
from brain_diffusion_jax.models.layers import conv
from brain_diffusion_jax.models.patch_discriminator import DiscriminatorConfig, PatchDiscriminator
from brain_diffusion_jax.tasks import labels
from brain_diffusion_jax.tasks.age import loss as age_loss
from brain_diffusion_jax.tasks.autoencoder import loss as autoencoder_loss
from brain_diffusion_jax.tasks.autoencoder.augmentation import IntensityAndPlace
from brain_diffusion_jax.tasks.autoencoder.config import AutoencoderLoss, Crops, RangedAutoencoder
from brain_diffusion_jax.tasks.classifier import loss as class_loss
from brain_diffusion_jax.tasks.diffusion import loss as diffusion_loss
from brain_diffusion_jax.tasks.gan import loss as gan_loss
from brain_diffusion_jax.tasks.gan.config import GanModel
from brain_diffusion_jax.tasks.latent_diffusion.frozen import CODEC, Frozen
from brain_diffusion_jax.tasks.spec import spec
from brain_diffusion_jax.training import optimizer
from brain_diffusion_jax.training.fit import Outcome, RunData, RunRecord, fit
from brain_diffusion_jax.training.optimizer import OptimizerSettings
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.state import create as create_state
from brain_diffusion_jax.training.step import build_step
from brain_diffusion_jax.training.task import Task

SIZE = (8, 6)
BATCH = 8
SCHEMA = Schema((Continuous("age", "years", 20, 80), Categorical("sex", ("F", "M"))))
CONTRACT = Contract(SCHEMA, SIZE, fingerprint="tiny")
ADAM = OptimizerSettings(name="adamw", learning_rate=1e-2, warmup_steps=2)


class TinyDenoiser(nn.Module):
    """Two convolutions told of time and condition; `width` decides what FSDP can split."""

    width: int = 16

    @nn.compact
    def __call__(self, x, t, values, present, *, train=False):
        told = jnp.concatenate([jnp.where(present, values, -1.0), t[:, None] / 1000.0], axis=-1)
        h = nn.Conv(self.width, (3, 3), name="into")(x)
        h = nn.silu(h + nn.Dense(self.width, name="told")(told)[:, None, None])
        h = nn.silu(conv(self.width, 2, "middle", fast_gradient=True)(h))
        h = nn.Dropout(0.1, name="drop")(h, deterministic=not train)
        return nn.Conv(1, (3, 3), name="out")(h)


class TinyTrunk(Trunk):
    @property
    def in_channels(self):
        return 1

    @nn.compact
    def __call__(self, x, train=False):
        return nn.relu(self.conv(x, 16, 3, "conv0"))


class TinyTrunkWithNorm(TinyTrunk):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.relu(self.norm(self.conv(x, 16, 3, "conv0", bias=False), "norm0", train))


def _recipe(settings: OptimizerSettings = ADAM, num_steps: int = 10):
    return optimizer.recipe(settings, num_steps)


def diffusion_task(batch_size: int = BATCH, width: int = 16, adam: OptimizerSettings = ADAM, **options) -> Task:
    module, process = TinyDenoiser(width), Process(num_train_steps=100)
    settings = diffusion_loss.DiffusionLoss(batch_size=batch_size, drop_probability=0.3, drop_each=0.1, **options)
    return Task(
        "diffusion",
        diffusion_loss.make_init(module, (*SIZE, 1), 2, settings),
        lambda axis: diffusion_loss.make_loss(module, process, settings),
        diffusion_loss.make_measure(module, process),
        **_recipe(adam),
    )


def age_task(norm: bool = False, dense: int = 16) -> Task:
    target = age_loss.find_target(SCHEMA)

    def network(axis):
        trunk = (TinyTrunkWithNorm if norm else TinyTrunk)(axis_name=axis)
        return AgeNetwork(trunk, dense=(dense,), dropout=0.2, target_mean=50.0, target_scale=15.0)

    return Task(
        "age",
        labels.make_init(network(None), (*SIZE, 1)),
        lambda axis: age_loss.make_loss(network(axis), target, age_loss.AgeLoss()),
        age_loss.make_measure(network(None), target),
        known=target.known,
        **_recipe(),
    )


def class_task(dense: int = 16) -> Task:
    target = class_loss.find_target(SCHEMA, "sex")
    network = AgeNetwork(TinyTrunk(), dense=(dense,), dropout=0.2, bins=2)
    return Task(
        "class",
        labels.make_init(network, (*SIZE, 1)),
        lambda axis: class_loss.make_loss(network, target, label_smoothing=0.1),
        class_loss.make_measure(network, target),
        known=target.known,
        **_recipe(),
    )


def gan_task(**more) -> Task:
    """The generator moves in every second update. more: settings of `GanModel`, by default of a WGAN-GP."""
    how = GanModel(channels=(8, 16), latent=4, critic_steps=2, learning_rate=1e-3, **more).chosen
    game = how.game((*SIZE, 1), SCHEMA.cardinalities)
    return Task(
        "gan",
        gan_loss.make_init(game.module, len(SCHEMA.names)),
        lambda axis: game.loss,
        game.measure,
        gan_loss.make_optimizer(how),
        lambda step: how.learning_rate,
    )


def vae_gan_task() -> Task:
    """As `gan_task`, with an encoder and least squares."""
    return gan_task(objective="vae-gan", critic_channels=(4, 8), width=4)


def autoencoder_task() -> Task:
    """Crops for two steps, then whole images; a discriminator from the second step on."""
    config = RangedAutoencoder(
        channels=(16,), num_res_blocks=1, attention_levels=False, latent_channels=2, norm_num_groups=4
    )
    critic = PatchDiscriminator(DiscriminatorConfig(channels=8, num_layers=1, norm_num_groups=4))
    weights = AutoencoderLoss(mse=0.5, kl=1e-3, adversarial=0.1, adversarial_from=0.1)
    module = Autoencoder(config)
    how = autoencoder_loss.Learning(weights, Crops(6, 0.2), IntensityAndPlace(share=0.5), 10, mirror_axis=1)
    return Task(
        "autoencoder",
        autoencoder_loss.make_init(module, critic, (*SIZE, 1)),
        lambda axis: autoencoder_loss.make_loss(module, critic, how),
        autoencoder_loss.make_measure(module),
        **autoencoder_loss.make_optimizer(ADAM, how),
    )


def latent_task(width: int = 16, channels: int = 8) -> Task:
    """The denoiser on a latent of one channel, drawn anew in every step from the image. channels: of the codec."""
    frozen = Frozen(
        RangedAutoencoder(
            channels=(channels,), num_res_blocks=1, attention_levels=False, latent_channels=1, norm_num_groups=4
        ),
        SIZE,
    )
    params = frozen.module.init(jax.random.key(1), jnp.zeros((1, *SIZE, 1)))["params"]
    state = {"autoencoder": params, "mean": jnp.asarray([0.1]), "std": jnp.asarray([0.5])}
    module, process = TinyDenoiser(width), Process(num_train_steps=100, clip_x0=False)
    settings = diffusion_loss.DiffusionLoss(batch_size=BATCH)
    plain = diffusion_loss.make_init(module, frozen.codec(state).shape, 2, settings)

    def codec_of(model_state):
        return frozen.codec(model_state[CODEC])

    return Task(
        "latent_diffusion",
        lambda key: {**plain(key), CODEC: state},
        lambda axis: diffusion_loss.make_loss(module, process, settings, codec_of),
        diffusion_loss.make_measure(module, process, codec_of),
        **_recipe(),
    )


def quadratic(spike_factor=0.0, name="sgd", rate=0.1, **options):
    """A step on |w - target|^2 whose batch gives the target."""
    settings = optimizer.OptimizerSettings(name=name, learning_rate=rate, warmup_steps=0, schedule="constant")
    updates = optimizer.make(settings, 100)

    def loss(params, model_state, batch, key, update):
        value = jnp.mean((params["w"] - batch["target"]) ** 2)
        return value, ({}, model_state)

    start = create_state({"params": {"w": jnp.full((4, 4), 2.0)}}, updates)
    return start, jax.jit(build_step(loss, updates, spike_factor=spike_factor, **options))


class Endless:
    """Batch k is made from k; rows of a process as data.loader.Loader gives them. bad: batches of NaN or huge.

    unknown: samples of each batch without values.
    """

    def __init__(
        self, batch_size: int = BATCH, process_index: int = 0, process_count: int = 1, bad=None, unknown: int = 0
    ) -> None:
        self.batch_size, self.next_batch, self.bad, self.unknown = batch_size, 0, bad or {}, unknown
        local = batch_size // process_count
        self.rows = slice(process_index * local, (process_index + 1) * local)

    def __next__(self):
        rng = np.random.default_rng(self.next_batch)
        values = np.stack([rng.random(self.batch_size), rng.integers(0, 2, self.batch_size)], axis=1)
        image = rng.random((self.batch_size, *SIZE, 1)) * 0.5 + values[:, :1, None, None] * 0.5
        if self.next_batch in self.bad:
            image = image * 0 + self.bad[self.next_batch]
        self.next_batch += 1
        present = np.ones(values.shape, bool)
        present[: self.unknown] = False
        batch = {"image": image.astype(np.float32), "values": values.astype(np.float32), "present": present}
        return {k: v[self.rows] for k, v in batch.items()}

    def get_state(self):
        return {"next": self.next_batch}

    def set_state(self, state):
        self.next_batch = state["next"]


def held_out(count: int = 11):
    return next(Endless(count))


def train_settings(**changes) -> TrainSettings:
    plain = dict(num_steps=8, log_every=1, validate_every=4, checkpoint_every=4, sample_every=0, ema_decay=0.9)
    return TrainSettings(**{**plain, **changes})


def train(run, data=None, task=None, *, validation=None, config=None, seed=0, **changes) -> Outcome:
    """`fit` of a tiny task in folder `run`; changes: of `train_settings`, and the config where none is given."""
    held = held_out() if validation is None else validation
    task, config = task or diffusion_task(), {"train": changes} if config is None else config
    record = RunRecord(config, CONTRACT, spec(task.kind).kept, seed, show_progress=False)
    given = RunData(data or Endless(), BATCH, held or None)
    return fit(task, run, given, train_settings(**changes), record)
