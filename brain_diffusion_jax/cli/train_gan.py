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

    config = training_data.load(arguments, "gan")
    folder = arguments.run or Path("runs") / f"{config.name}-gan"
    outcome = train(config, folder, show_progress=not arguments.quiet)
    print(f"{outcome.run}: step {outcome.step}{', ' + outcome.reason if outcome.reason else ''}")
    return outcome.exit_code


def train(config: Any, folder: Path, *, show_progress: bool = True) -> Any:
    """Train on the shards of a whole config; returns training.fit.Outcome."""
    from dataclasses import replace

    from brain_diffusion_jax.config import to_json
    from brain_diffusion_jax.models.gan import make_gan
    from brain_diffusion_jax.training import fit, gan_step
    from brain_diffusion_jax.training.optimizer import OptimizerSettings
    from brain_diffusion_jax.training.settings import TrainSettings

    training_data.prepare_host(config, "gan")
    contract, section = training_data.shards_contract(config), config.gan
    gan = make_gan(tuple(contract.image_size), contract.schema.cardinalities, **section)
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
