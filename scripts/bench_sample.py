"""Our sweep against the published sampling loop, in one run: same network, converted weights, same steps and noise.

The loop of the reference system (REFERENCES.md): MONAI's network, one image at a time, a batch of 2 (null,
conditional), a Python loop over steps. Ours: all scales and conditions, as `brain-diffusion sweep` does.
Both on this machine's GPU, or CPU, in float32, interleaved; the medians are compared. rounding: their own loop in
float32 against float64 for the same images, to hold the largest difference between theirs and ours against: guidance
of 7 multiplies rounding in a random network. Needs the extra `parity` (torch, monai).

    python scripts/bench_sample.py                      # channels 64,64,128, 4 scales x 8 conditions, 10 DDIM steps
    python scripts/bench_sample.py --channels 256 256 512 --conditions 1   # the published network
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time

import numpy as np

SCALES = (7.0, 5.0, 3.0, 1.0)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs=3, default=(64, 64, 128))
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128))
    parser.add_argument("--conditions", type=int, default=8)
    parser.add_argument("--scales", type=int, default=4, help="how many of 7, 5, 3, 1")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3, help="of our sweep")
    parser.add_argument("--pictures", type=int, default=4, help="of the published loop, after each of our sweeps")
    parser.add_argument("--chunk", type=int, default=2, help="conditions a call of ours; 0 is all")
    parser.add_argument(
        "--share-first",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="one network call for all scales in the first step",
    )
    return parser.parse_args()


def their_network(channels: tuple[int, ...]):
    """MONAI's network with random weights, none of them zero."""
    import torch
    from monai.networks.nets import DiffusionModelUNet

    torch.manual_seed(0)
    network = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=tuple(channels),
        attention_levels=(False, False, True),
        num_res_blocks=2,
        num_head_channels=(0, 0, channels[-1]),
        with_conditioning=True,
        cross_attention_dim=3,
    ).eval()
    with torch.no_grad():  # MONAI starts its last convolution at zero, which would sample nothing
        for parameter in network.parameters():
            if not parameter.abs().max():
                parameter.normal_(std=0.02)
    return network


def their_picture(network, scheduler, noise, tokens, scale: float) -> np.ndarray:
    """One image [1, 1, rows, cols] by the published loop. tokens: [2, 1, 3], null first."""
    import torch

    like = next(network.parameters())
    x, tokens = torch.from_numpy(noise.copy()).to(like), tokens.to(like)
    with torch.no_grad():
        for t in scheduler.timesteps:
            both = network(torch.cat([x, x]), timesteps=torch.full((2,), int(t)).to(like.device), context=tokens)
            null, conditional = both.chunk(2)
            x, _ = scheduler.step(null + scale * (conditional - null), int(t), x)
    return x.cpu().numpy()


def main() -> None:
    """Run the comparison and print its figures as JSON."""
    settings = parse()
    import jax
    import jax.numpy as jnp
    import torch
    from monai.networks.schedulers import DDIMScheduler

    from brain_diffusion_jax.conversion import monai
    from brain_diffusion_jax.covariates import Condition
    from brain_diffusion_jax.diffusion import levels, samplers
    from brain_diffusion_jax.diffusion.process import Process
    from brain_diffusion_jax.diffusion.samplers.base import initial_noise
    from brain_diffusion_jax.diffusion.sweep import sweep
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.training.devices import host

    host.prepare()  # as `brain-diffusion sample` does
    theirs = their_network(settings.channels)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    theirs = theirs.to(device)
    converted = monai.from_monai(state, num_head_channels=(0, 0, settings.channels[-1]), norm_num_groups=32)
    unet = factory.unet(converted.model)

    def network(params, x, t, condition):
        tokens = jnp.where(condition.present, condition.values, -1.0)[:, None, :]
        return unet.apply({"params": params}, x, t, tokens)

    process = Process(schedule="linear", prediction="eps", clip_keeps_eps=True)
    denoise = process.denoise_fn(jax.tree_util.Partial(network, jax.tree.map(jnp.asarray, converted.params)))
    rng = np.random.default_rng(0)
    n, scales = settings.conditions, SCALES[: settings.scales]
    values = np.stack([rng.uniform(18, 88, n), rng.integers(1, 3, n), rng.integers(25, 65, n)], 1).astype(np.float32)
    condition = Condition(values, np.ones(values.shape, bool))
    x_init = initial_noise(jax.random.key(0), (n, *settings.size, 1))
    path = levels.strided_pairs(process.table, settings.steps)
    scheduler = DDIMScheduler(1000)
    scheduler.set_timesteps(settings.steps)
    noise = np.moveaxis(np.asarray(x_init), -1, 1)

    def ours() -> np.ndarray:
        """[scales, conditions, ...]; a scale of 1, the last, is a program without the null branch."""
        options = dict(chunk=settings.chunk or None, devices=jax.devices())
        arguments = (denoise, samplers.get("ddim"), path, x_init, condition, jax.random.key(1))
        guided = [scale for scale in scales if scale != 1.0]
        parts = [sweep(*arguments, guided, share_first=settings.share_first, **options)] if guided else []
        parts += [sweep(*arguments, **options)] if 1.0 in scales else []
        return np.concatenate(parts)

    def image(index: int, network=theirs) -> np.ndarray:
        s, i = divmod(index, n)
        tokens = torch.from_numpy(np.stack([np.full((1, 3), -1, np.float32), values[i][None]]))
        return their_picture(network, scheduler, noise[i : i + 1], tokens, scales[s])

    started = time.perf_counter()
    first = ours()  # compiles
    compiling = time.perf_counter() - started
    image(0)
    mine, published, difference, rounding = [], [], 0.0, 0.0
    exact = copy.deepcopy(theirs).double()
    for repeat in range(settings.repeats):
        started = time.perf_counter()
        ours()
        mine.append((time.perf_counter() - started) / (len(scales) * n))
        for k in range(settings.pictures):
            index = (repeat * settings.pictures + k) * 5 % (len(scales) * n)
            started = time.perf_counter()
            want = image(index)
            published.append(time.perf_counter() - started)
            if k == 0:
                got = np.moveaxis(first[divmod(index, n)], -1, 0)[None]
                difference = max(difference, float(np.abs(got - want).max()))
                rounding = max(rounding, float(np.abs(image(index, exact) - want).max()))
    ratio = statistics.median(published) / statistics.median(mine)
    print(
        json.dumps(
            {
                "channels": list(settings.channels),
                "size": list(settings.size),
                "cells": f"{len(scales)} scales x {n} conditions, {settings.steps} DDIM steps",
                "published_s_per_picture": round(statistics.median(published), 4),
                "ours_s_per_picture": round(statistics.median(mine), 4),
                "ratio": round(ratio, 2),
                "first_call_s": round(compiling, 1),
                "largest_difference": difference,
                "rounding": rounding,
                "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
                "threads": torch.get_num_threads(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
