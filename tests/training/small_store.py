"""Checkpoints of a state of three numbers, and damage to them."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from brain_diffusion_jax.training import state
from brain_diffusion_jax.training.run_folder.store import Keep, Store

ALL = Keep(last=9)


def small(step: int, value: float, optimizer=None, size: int = 3) -> state.TrainState:
    new = state.create({"params": {"w": jnp.full(size, value)}}, optimizer or optax.adam(1e-3))
    return new.replace(step=jnp.asarray(step, jnp.int32))


def fill(run, steps, keep=ALL, losses=None):
    store = Store(run, keep)
    for number, step in enumerate(steps):
        store.save(small(step, float(step)), {"seed": 0}, losses[number] if losses else None)
    store.wait()
    return store


def damage(run, step, how):
    """Change the biggest file of the parameters of a checkpoint."""
    files = [p for p in (run / "checkpoints" / str(step) / "params").rglob("*") if p.is_file()]
    path = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 0xFF
    path.unlink() if how == "missing" else path.write_bytes(content[: len(content) // 2] if how == "cut" else content)
