"""Run by test_study in a process with eight devices: the study's pictures of a run, as .npy; prints what it saw."""

from __future__ import annotations

import sys

import jax
import numpy as np

from brain_diffusion_jax import api
from brain_diffusion_jax.api.studies import sampler
from brain_diffusion_jax.diffusion import sweep


def main(run: str, out: str) -> None:
    calls, mesh = [], sweep.Mesh
    sweep.Mesh = lambda devices, names: calls.append(devices.size) or mesh(devices, names)
    conditions = [{"age": 30.0 + 5 * i, "sex": "FM"[i % 2], "slice": 3} for i in range(5)]
    model = api.load(run, "generator")
    pictures = sampler(model, model.sampling(num_steps=2, batch_size=8))(conditions, 2.0, 7)
    np.save(out, pictures)
    print(jax.local_device_count(), calls)


if __name__ == "__main__":
    main(*sys.argv[1:])
