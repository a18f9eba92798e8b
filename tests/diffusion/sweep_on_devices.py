"""Run by test_sweep_devices in a process with eight devices: prints JSON of what it found."""

from __future__ import annotations

import json
import re

import exact_models
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.tree_util import Partial

from brain_diffusion_jax.array_types import Condition
from brain_diffusion_jax.diffusion import guidance, levels, samplers
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.diffusion.samplers import base
from brain_diffusion_jax.diffusion.sweep import _arguments, _sweep, sweep
from brain_diffusion_jax.errors import InputError

PROCESS = Process(schedule="cosine", prediction="x0", clip_x0=False)
TRACES = []


def network(params, x, t, condition):
    TRACES.append(x.shape)
    level = PROCESS.level(jnp.asarray(t, jnp.int32))
    return exact_models.gaussian(x, level, condition, mean=params["mean"]).x0


def gathers(devices) -> int:
    """Collectives in the compiled sweep of a network of one convolution, several scales at once."""

    def convolved(params, x, t, condition):
        shift = jnp.where(condition.present, condition.values, 0.0)[:, :, None, None]
        return (
            jax.lax.conv_general_dilated(x, params, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + shift
        )

    condition = Condition(np.zeros((16, 1), np.float32), np.ones((16, 1), bool))
    traced, static = _arguments(
        PROCESS.denoise_fn(Partial(convolved, jnp.ones((3, 3, 1, 1)))),
        samplers.get("ddim"),
        levels.select(PROCESS.table, 2),
        jnp.ones((16, 8, 8, 1)),
        condition,
        base.sample_keys(jax.random.key(0), 16),
        jnp.asarray([1.0, 3.0]),
        rule=guidance.classifier_free,
        guidance_options={},
        sampler_options={},
        fixed={},
        mesh=Mesh(np.asarray(devices), ("data",)),
    )
    text = _sweep.lower(*traced, **static).compile().as_text()
    return len(re.findall(r"all-gather|all-to-all|all-reduce|collective-permute", text))


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
    found["collectives"] = gathers(devices)
    try:
        make(16, 0, [1.0, 2.0], devices=devices, memory_limit=100)
    except InputError as error:
        found["memory"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
