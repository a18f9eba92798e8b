"""Run by test_sweep_devices in a process with eight devices: prints JSON of what it found."""

from __future__ import annotations

import json

import exact_models
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from brain_diffusion_jax.array_types import Condition
from brain_diffusion_jax.diffusion import levels, samplers
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.diffusion.samplers import base
from brain_diffusion_jax.diffusion.sweep import sweep
from brain_diffusion_jax.errors import InputError

PROCESS = Process(schedule="cosine", prediction="x0", clip_x0=False)
TRACES = []


def network(params, x, t, condition):
    TRACES.append(x.shape)
    level = PROCESS.level(jnp.asarray(t, jnp.int32))
    return exact_models.gaussian(x, level, condition, mean=params["mean"]).x0


def main() -> None:
    devices = jax.devices()
    denoise = PROCESS.denoise_fn(Partial(network, {"mean": jnp.float32(0.1)}))
    path, method = levels.select(PROCESS.table, 4), samplers.get("ddim", eta=0.7)
    found: dict = {"devices": len(devices), "differences": {}}

    def make(n, seed, scales, **settings):
        key = jax.random.key(seed)
        values = np.linspace(-1, 1, n, dtype=np.float32)[:, None] + seed
        x = base.initial_noise(key, (n, 3, 3, 1))
        return sweep(denoise, method, path, x, Condition(values, np.ones((n, 1), bool)), key, scales, **settings)

    for n, chunk in ((16, None), (5, None), (19, 8), (19, 3)):  # even, uneven, whole chunks, chunks below the devices
        alone = make(n, 0, [0.0, 1.0, 3.5])
        spread = make(n, 0, [0.0, 1.0, 3.5], devices=devices, chunk=chunk)
        found["differences"][f"{n} {chunk}"] = float(jnp.abs(spread - alone).max())
        found.setdefault("spread", len(spread.sharding.device_set))
    two = jnp.stack([base.sample_keys(jax.random.key(s), 5) for s in (0, 1)])
    noise = jnp.stack([base.initial_noise(k, (5, 3, 3, 1)) for k in two])
    condition = Condition(np.zeros((5, 1), np.float32), np.ones((5, 1), bool))
    seeds = [sweep(denoise, method, path, noise, condition, two, [1.0, 3.0], devices=d) for d in (None, devices)]
    found["differences"]["seeds"] = float(jnp.abs(seeds[0] - seeds[1]).max())
    make(16, 0, [1.0, 2.0], devices=devices)
    before = len(TRACES)
    for seed in (1, 2):
        make(16, seed, [seed + 1.0, 7.0], devices=devices)
    found["traces"] = len(TRACES) - before
    try:
        make(16, 0, [1.0, 2.0], devices=devices, memory_limit=100)
    except InputError as error:
        found["memory"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
