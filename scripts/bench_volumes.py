"""Volumes/s of our autoencoder and 3D UNet against MONAI's in torch: same networks, batch and inputs, one run.

  python scripts/bench_volumes.py                                   train steps of the small networks, CPU
  python scripts/bench_volumes.py --work sample --networks unet     50 DDIM steps
  python scripts/bench_volumes.py --networks autoencoder --size 48 56 48 --repeats 5

train: an autoencoder's reconstruction (L1 + 1e-6 KL), or a UNet's noise prediction, with Adam. sample: an
autoencoder decodes, a UNet makes --steps DDIM steps. MONAI has no patches: "patched" is its AutoencoderKL on the same
blocks of 2 x 2 x 2 voxels, rearranged outside it. Every side is a process of its own and they take turns, block by
block, so that a busy machine slows them alike; ratios are of medians of --repeats blocks.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import bench_train
import numpy as np
from bench_train import Side

NETWORKS: dict[str, dict[str, Any]] = {
    "autoencoder": dict(layout="monai", channels=(16, 32, 64), size=(48, 56, 48), batch=1),
    "wide": dict(layout="monai", channels=(32, 64, 64), size=(48, 56, 48), batch=1),
    "patched": dict(layout="patched", channels=(64, 128), size=(48, 56, 48), batch=1),
    "unet": dict(channels=(96, 128), size=(10, 12, 10), batch=4),
    "large_unet": dict(channels=(64, 128, 128), size=(20, 24, 20), batch=4),
}
LATENT, CONDITIONS, GROUPS = 4, 4, 16


def settings(name: str) -> dict[str, Any]:
    """What both sides' networks share, in our words."""
    channels = NETWORKS[name]["channels"]
    levels = tuple([False] * len(channels))
    shared = dict(channels=channels, num_res_blocks=(1,) * len(channels), norm_num_groups=GROUPS)
    if "layout" in NETWORKS[name]:
        return dict(**shared, attention_levels=levels, latent_channels=LATENT)
    heads = (*(0,) * (len(channels) - 1), channels[-1])
    return dict(**shared, attention_levels=(*levels[:-1], True), num_head_channels=heads)


def ours(name: str, work: str, size: tuple[int, ...], batch: int, steps: int) -> Side:
    """This package's networks, jitted, with the train step that `brain-diffusion train` compiles."""
    import jax
    import jax.numpy as jnp
    import optax

    from brain_diffusion_jax.diffusion import levels, samplers
    from brain_diffusion_jax.diffusion.process import Process
    from brain_diffusion_jax.diffusion.samplers import base
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.models.autoencoder import Autoencoder
    from brain_diffusion_jax.models.autoencoder_config import AutoencoderConfig
    from brain_diffusion_jax.training.devices import host
    from brain_diffusion_jax.training.state import create
    from brain_diffusion_jax.training.step import build_step

    host.prepare(batch)  # as `brain-diffusion train` does
    given, layout = settings(name), NETWORKS[name].get("layout")
    process = Process("scaled_linear", 1000, 0.0015, 0.0205, prediction="eps", clip_x0=False)
    rng, key = np.random.default_rng(0), jax.random.key(0)
    if layout:
        autoencoder = Autoencoder(AutoencoderConfig(layout=layout, **given), 3, 1)
        image = jnp.asarray(rng.uniform(-1, 1, (batch, *size, 1)), jnp.float32)
        variables = jax.jit(autoencoder.init)(key, image)

        def loss(params, model_state, data, key, update):
            x = data["image"]
            y, mean, log_variance = autoencoder.apply({"params": params}, x, key)
            kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - log_variance - 1) / batch
            return jnp.mean(jnp.abs(y - x)) + 1e-6 * kl, ({}, model_state)

        latent = jnp.asarray(rng.standard_normal((batch, *autoencoder.config.latent_shape((*size, 1)))), jnp.float32)
        once = jax.jit(lambda v, z: autoencoder.apply(v, z, method="decode"))
        sampled = lambda: once(variables, latent)  # noqa: E731
    else:
        shape = dict(spatial_dims=3, in_channels=LATENT, out_channels=LATENT, context_dim=CONDITIONS)
        unet = factory.unet({**given, **shape})
        image = jnp.asarray(rng.standard_normal((batch, *size, LATENT)), jnp.float32)
        context = jnp.asarray(rng.random((batch, 1, CONDITIONS)), jnp.float32)
        variables = jax.jit(unet.init)(key, image, jnp.zeros(batch), context)

        def loss(params, model_state, data, key, update):
            x = data["image"]
            times, noise = jax.random.split(key)
            level = process.level(jax.random.randint(times, x.shape[:1], 0, 1000))
            eps = jax.random.normal(noise, x.shape)
            output = unet.apply({"params": params}, process.add_noise(x, eps, level), level.t, context)
            return jnp.mean((output - eps) ** 2), ({}, model_state)

        path = levels.select(process.table, steps, "leading")
        draw = jax.jit(
            lambda v, x: base.run(
                samplers.get("ddim"),
                process.denoise_fn(lambda x, t, c: unet.apply(v, x, t, context)),
                x,
                path,
                None,
                key,
            )
        )
        sampled = lambda: draw(variables, image)  # noqa: E731
    if work == "sample":
        jax.block_until_ready(sampled())
        return Side(lambda count: [jax.block_until_ready(sampled()) for _ in range(count)] and None, 0.0, 1)
    tx = optax.adam(1e-4)
    state = create(dict(variables), tx)
    program = jax.jit(build_step(loss, tx), donate_argnums=0)

    def run(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, metrics = program(state, {"image": image}, key)
            host.release_memory()  # as the training loop does
        jax.block_until_ready(metrics)

    run(1)
    return Side(run, 0.0, 1)


def theirs(name: str, work: str, size: tuple[int, ...], batch: int, steps: int) -> Side:
    """MONAI's networks in torch, eager, as its tutorials train and sample them."""
    import torch
    from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
    from monai.networks.schedulers import DDIMScheduler

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    given, layout = settings(name), NETWORKS[name].get("layout")
    scheduler = DDIMScheduler(1000, "scaled_linear_beta", beta_start=0.0015, beta_end=0.0205, clip_sample=False)
    patch = 2 if layout == "patched" else 1

    def blocks(x: torch.Tensor) -> torch.Tensor:
        for axis in range(2, 5):
            x = x.unflatten(2 * axis - 2, (-1, patch))
        return x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)

    if layout:
        channels = patch**3
        net = AutoencoderKL(
            3,
            channels,
            channels,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
            **given,
        ).to(device)
        image = torch.rand(batch, 1, *size, device=device) * 2 - 1
        halved = patch * 2 ** (len(given["channels"]) - 1)
        latent = torch.randn(batch, LATENT, *(n // halved for n in size), device=device)

        def loss() -> torch.Tensor:
            x = blocks(image) if patch > 1 else image
            y, mean, sigma = net(x)
            kl = 0.5 * (mean**2 + sigma**2 - (sigma**2).log() - 1).sum() / batch
            return (y - x).abs().mean() + 1e-6 * kl

        sampled = lambda: net.decode(latent)  # noqa: E731
    else:
        net = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=LATENT,
            out_channels=LATENT,
            with_conditioning=True,
            cross_attention_dim=CONDITIONS,
            **given,
        ).to(device)
        image = torch.randn(batch, LATENT, *size, device=device)
        context = torch.rand(batch, 1, CONDITIONS, device=device)

        def loss() -> torch.Tensor:
            times = torch.randint(0, 1000, (batch,), device=device)
            noise = torch.randn_like(image)
            output = net(scheduler.add_noise(image, noise, times), timesteps=times, context=context)
            return torch.nn.functional.mse_loss(output, noise)

        def sampled() -> torch.Tensor:
            scheduler.set_timesteps(steps)
            x = image
            for t in scheduler.timesteps.tolist():
                x, _ = scheduler.step(net(x, timesteps=torch.tensor([t], device=device), context=context), t, x)
            return x

    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def run(count: int) -> None:
        for _ in range(count):
            if work == "sample":
                with torch.no_grad():
                    sampled()
                continue
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    run(1)
    return Side(run, 0.0, 1)


SIDES = {"ours": ours, "torch": theirs}


def compare(name: str, work: str, how: argparse.Namespace) -> dict[str, Any]:
    """Volumes/s of both sides, taking turns, and the ratio of their medians."""
    size, batch = tuple(how.size or NETWORKS[name]["size"]), how.batch or NETWORKS[name]["batch"]
    row: dict[str, Any] = {"network": name, "work": work, "size": size, "batch": batch}
    sides, counts, rates = {}, {}, {}
    for side in SIDES:
        pipe, process = bench_train.start(side, name, work, size, batch, how.steps, target=serve)
        row[side] = pipe.recv()
        if isinstance(row[side], str):
            row[side] = {"failed": row[side]}
            continue
        sides[side] = (pipe, process)
        pipe.send(1)
        counts[side], rates[side] = max(1, round(how.seconds * pipe.recv() / batch)), []
    for _ in range(how.repeats):
        for side, (pipe, _) in sides.items():
            pipe.send(counts[side])
            rates[side].append(pipe.recv())
    for side, (pipe, process) in sides.items():
        pipe.send(0)
        process.join()
        row[side] |= {"volumes_per_s": float(np.median(rates[side])), "blocks": [round(r, 4) for r in rates[side]]}
    if len(sides) == len(SIDES):
        row["ratio"] = row["ours"]["volumes_per_s"] / row["torch"]["volumes_per_s"]
    return row


def serve(pipe, side: str, name: str, work: str, size: tuple[int, ...], batch: int, steps: int) -> None:
    """A side in a process of its own: answers its first-step time, then volumes/s of blocks of n steps."""
    begin = time.perf_counter()
    try:
        run = SIDES[side](name, work, size, batch, steps).run
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}"[:200])
        return
    pipe.send({"first_step_s": time.perf_counter() - begin})
    while (count := pipe.recv()) > 0:
        begin = time.perf_counter()
        run(count)
        pipe.send(count * batch / (time.perf_counter() - begin))


def main() -> None:
    """Run the comparison and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["autoencoder", "patched", "unet"])
    parser.add_argument("--work", nargs="+", choices=("train", "sample"), default=["train", "sample"])
    parser.add_argument("--size", type=int, nargs=3, metavar=("X", "Y", "Z"), help="of the volume or the latent")
    parser.add_argument("--batch", type=int, help="default: the network's own")
    parser.add_argument("--steps", type=int, default=50, help="of DDIM")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each timed block")
    parser.add_argument("--repeats", type=int, default=3)
    how = parser.parse_args()
    for name in how.networks:
        for work in how.work:
            print(json.dumps(compare(name, work, how)), flush=True)


if __name__ == "__main__":
    main()
