"""Train the WGAN-GP baseline on shards, or go on with a run that was stopped.

  brain-diffusion train-gan configs/tumor.py data.shards=shards/tumor --run runs/tumor-gan
  brain-diffusion gate runs/tumor-gan --classifier runs/tumor-class --shards shards/tumor --out gate/gan

Settings are those of config section gan; a step is one critic update. gan.conditional=False forgets the classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from brain_diffusion_jax.cli import training_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    training_data.add_arguments(parser, "-gan")


def run(arguments: argparse.Namespace) -> int:
    from brain_diffusion_jax.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    folder = arguments.run or Path("runs") / f"{config.name}-gan"
    outcome = train(config, folder, show_progress=not arguments.quiet)
    print(f"{outcome.run}: step {outcome.step}{', ' + outcome.reason if outcome.reason else ''}")
    return outcome.exit_code


def networks(config: Any, contract: Any) -> Any:
    """The linen module of config section gan for pictures of a contract."""
    from brain_diffusion_jax.models.gan import make_gan

    return make_gan(tuple(contract.image_size), contract.schema.cardinalities, **config.gan)


def train(config: Any, folder: Path, *, show_progress: bool = True) -> Any:
    """Train on the shards of a whole config; returns training.fit.Outcome."""
    from dataclasses import replace

    from brain_diffusion_jax.config import to_json
    from brain_diffusion_jax.training import compile_cache, fit, gan_step
    from brain_diffusion_jax.training.optimizer import OptimizerSettings
    from brain_diffusion_jax.training.settings import TrainSettings

    compile_cache.enable()
    contract, section = training_data.shards_contract(config), config.gan
    gan = networks(config, contract)
    how = gan_step.GanSettings(section.penalty, section.critic_steps, section.learning_rate, tuple(section.betas))
    task = fit.Task(
        kind="gan",
        init=gan_step.make_init(gan, len(contract.schema.names)),
        make_loss=lambda axis_name: gan_step.make_loss(gan, how),
        measure=gan_step.make_measure(gan),
        optimizer=gan_step.make_optimizer(how),
    )
    settings = replace(
        TrainSettings(**config.train),
        num_steps=section.num_steps,
        ema_decay=section.ema_decay,
        early_stopping=0,
        sample_every=0,
        keep_best=0,  # the critic's numbers rank no checkpoint
    )
    return fit.fit(
        task,
        folder,
        training_data.make_loader(config, "gan", class_balance=config.data.class_balance),
        training_data.validation_arrays(config, settings.validation_samples),
        settings,
        OptimizerSettings(learning_rate=section.learning_rate, warmup_steps=0, schedule="constant"),
        batch_size=section.batch_size,
        config=to_json(config),
        contract=contract,
        seed=config.seed,
        show_progress=show_progress,
    )


class GanModel:
    """A trained generator with the `sample` of a diffusion model; guidance, sampler and steps mean nothing to it."""

    kind = "gan"

    def __init__(self, folder: str | Path, step: int | None = None) -> None:
        from brain_diffusion_jax import config as configs
        from brain_diffusion_jax.contract import Contract
        from brain_diffusion_jax.errors import InputError
        from brain_diffusion_jax.training import checkpoints

        items = checkpoints.read_config(folder)
        if items.get("kind") != self.kind:
            raise InputError(folder, "kind", items.get("kind"), "gan: a run of train-gan")
        self.path = Path(folder)
        self.config = configs.from_json({k: v for k, v in items.items() if k != "kind"})
        self.contract = Contract.load(folder)
        self.schema = self.contract.schema
        self.params = checkpoints.load_params(folder, step)
        self.module = networks(self.config, self.contract)

    def sample(self, conditions: Any, seed: int = 0, batch_size: int = 64, **_ignored: Any) -> Any:
        """Unit pictures [n, rows, cols, 1]; picture i depends on the seed, i and its condition alone."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from brain_diffusion_jax.training.gan_step import draw_latents

        encoded = self.schema.encode(conditions)
        latent = self.module.generator.latent

        @jax.jit
        def make(params: Any, index: Any, values: Any, present: Any) -> Any:
            z = draw_latents(jax.random.key(seed), index, latent)
            return self.module.apply({"params": params}, z, values, present, method="generate") * 0.5 + 0.5

        parts = []
        for first in range(0, len(conditions), batch_size):
            rows = np.arange(first, first + batch_size)
            held = np.minimum(rows, len(conditions) - 1)
            made = make(self.params, jnp.asarray(rows, jnp.int32), encoded.values[held], encoded.present[held])
            parts.append(np.asarray(made)[: len(conditions) - first])
        return np.clip(np.concatenate(parts), 0.0, 1.0)
