"""Whether channels of a latent carry anything: one that does not is noise that a diffusion model learns in vain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.autoencoder.loss import LATENT

logger = logging.getLogger(__name__)
LEAST_NATS = 0.01  # a latent number
LEAST_SPREAD = 0.1  # deviation of the posterior means over the mean posterior deviation


def collapsed(kl: Sequence[float], spread: Sequence[float]) -> list[int]:
    """Channels whose posterior is the prior, or whose means hardly differ beside their noise."""
    pairs = zip(kl, spread, strict=True)
    return [k for k, (nats, ratio) in enumerate(pairs) if not (nats >= LEAST_NATS and ratio >= LEAST_SPREAD)]


def require_channels(where: object, kl: Sequence[float], spread: Sequence[float]) -> None:
    """Warn of collapsed channels; InputError where every one is."""
    lost = collapsed(kl, spread)
    if not lost:
        return
    told = ", ".join(f"{k}: {kl[k]:.2g} nats, spread {spread[k]:.2g}" for k in lost)
    if len(lost) == len(kl):
        expected = f"{LEAST_NATS} nats a number and spread {LEAST_SPREAD} in a channel; a smaller loss.kl"
        raise InputError(where, "latent", f"every channel is collapsed ({told})", expected)
    logger.warning("%s: collapsed latent channels (%s)", where, told)


def make_guard(channels: int, begin: int) -> Callable[[int, Mapping[str, float]], None]:
    """guard(step, means of a validation) for a Task: `require_channels` from step `begin` on."""

    def guard(step: int, means: Mapping[str, float]) -> None:
        if step >= begin:
            numbers = {n: [means[f"{LATENT}_{n}_{k}"] for k in range(channels)] for n in ("kl", "spread")}
            require_channels(f"step {step}", numbers["kl"], numbers["spread"])

    return guard
