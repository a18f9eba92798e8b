"""Images/s of our train step against MONAI's reference loop in torch: same network, batch and inputs, one run.

  python scripts/bench_train.py                              small network, batch 8, CPU
  python scripts/bench_train.py --network reference --batch 1 4
  python scripts/bench_train.py --network reference --batch 8 32 --dtype bfloat16 --peak-tflops 790   (GPU)

Both sides: noise, noising with a linear schedule, eps prediction, mean squared error, Adam; nothing else
(no averages, no dropping, no clipping). torch variants: eager as published, and with --compile
torch.compile + channels_last + autocast where it runs. Every side is a process of its own and they take
turns, block by block, so that a busy machine slows them alike; figures are medians of --repeats blocks.
--starts measures the time to the first step with an empty and with a filled compile cache instead.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

NETWORKS = {
    # The network of the reference system (REFERENCES.md): 99 M parameters, 401 GFLOP forward for a 96x128 image.
    "reference": dict(
        channels=(256, 256, 512),
        num_res_blocks=(2, 2, 2),
        attention_levels=(False, False, True),
        num_head_channels=(0, 0, 512),
        norm_num_groups=32,
    ),
    "small": dict(
        channels=(32, 64, 64),
        num_res_blocks=(1, 1, 1),
        attention_levels=(False, False, True),
        num_head_channels=(0, 0, 64),
        norm_num_groups=32,
    ),
}
CONTEXT = 3


class Side(NamedTuple):
    """run(n): n steps, and wait for them. flops: of one image."""

    run: Callable[[int], None]
    flops: float
    devices: int


def inputs(batch: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """A batch of random images [batch, *size, 1] uint8 and context tokens [batch, 1, CONTEXT]."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (batch, *size, 1), dtype=np.uint8),
        "context": rng.random((batch, 1, CONTEXT), dtype=np.float32),
    }


def ours(network: dict, batch: int, size: tuple[int, int], dtype: str) -> Side:
    """This package's train step, as `brain-diffusion train` compiles it."""
    import jax
    import jax.numpy as jnp
    import optax

    from brain_diffusion_jax.diffusion.process import Process
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.training.devices import host, mesh
    from brain_diffusion_jax.training.state import create
    from brain_diffusion_jax.training.step import build_step, sample_keys

    host.prepare(batch)  # as `brain-diffusion train` does
    module = factory.unet({**network, "context_dim": CONTEXT, "dtype": dtype})
    process = Process(schedule="linear", prediction="eps")
    data = inputs(batch, size)

    def loss(params, model_state, batch, key, update):
        x0 = process.to_network(batch["image"].astype(jnp.float32) / 255.0)
        times, noise = jax.random.split(key)
        level = process.level(jax.random.randint(times, x0.shape[:1], 0, process.num_train_steps))
        eps = jax.vmap(lambda k: jax.random.normal(k, x0.shape[1:]))(sample_keys(noise, batch["index"]))
        output = module.apply({"params": params}, process.add_noise(x0, eps, level), level.t, batch["context"])
        return jnp.mean((output - eps) ** 2), ({}, model_state)

    tx = optax.adam(2.5e-5)

    def init(key):
        x = jnp.zeros((1, *size, 1))
        return create(dict(module.init(key, x, jnp.zeros(1), jnp.zeros((1, 1, CONTEXT)))), tx)

    layout = mesh.JitLayout(mesh.make_mesh())
    key = jax.random.key(0)
    state = layout.create(init, key)
    program = layout.compile(lambda axis: build_step(loss, tx, axis_name=axis))
    placed = layout.place({**data, "index": np.arange(batch, dtype=np.int32)})

    def run(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, metrics = program(state, placed, key)
            host.release_memory()  # as the training loop does
        jax.block_until_ready(metrics)

    run(1)
    return Side(run, program.flops / batch, layout.devices)


def torch_loop(network: dict, batch: int, size: tuple[int, int], dtype: str, *, fast: bool) -> Side:
    """MONAI's training loop in torch. fast: torch.compile, channels_last and autocast."""
    import torch
    from monai.networks.nets import DiffusionModelUNet
    from monai.networks.schedulers import DDPMScheduler

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        with_conditioning=True,
        cross_attention_dim=CONTEXT,
        **network,
    ).to(device)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.Adam(model.parameters(), lr=2.5e-5)
    data = inputs(batch, size)
    images = torch.from_numpy(data["image"]).permute(0, 3, 1, 2).to(device)
    context = torch.from_numpy(data["context"]).to(device)
    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)
    call = model
    if fast:
        model = model.to(memory_format=torch.channels_last)
        call = torch.compile(model)

    def run(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            x0 = images.float() / 127.5 - 1.0
            if fast:
                x0 = x0.contiguous(memory_format=torch.channels_last)
            noise = torch.randn_like(x0)
            times = torch.randint(0, 1000, (batch,), device=device)
            with torch.autocast(device, dtype=half or torch.bfloat16, enabled=fast and half is not None):
                noisy = scheduler.add_noise(x0, noise, times)
                output = call(noisy, timesteps=times, context=context)
                loss = torch.nn.functional.mse_loss(output.float(), noise)
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    run(1)
    return Side(run, 0.0, 1)


def serve(pipe, name: str, network: dict, batch: int, size: tuple[int, int], dtype: str) -> None:
    """A side in a process of its own: answers its first-step time, then images/s of blocks of n steps."""
    begin = time.perf_counter()
    try:
        if name == "ours":
            side = ours(network, batch, size, dtype)
        else:
            side = torch_loop(network, batch, size, dtype, fast=name == "torch compiled")
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}"[:200])
        return
    pipe.send({"first_step_s": time.perf_counter() - begin, "flops": side.flops, "devices": side.devices})
    while (count := pipe.recv()) > 0:
        begin = time.perf_counter()
        side.run(count)
        pipe.send(count * batch / (time.perf_counter() - begin))


def start(name: str, *arguments, target: Callable[..., None] = serve):
    """(pipe, process) of a side. target: what it runs, with the pipe's other end first."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(theirs, name, *arguments), daemon=True)
    process.start()
    return mine, process


def compare(names: list[str], batch: int, how) -> dict:
    """Images/s of every side, taking turns."""
    arguments = (NETWORKS[how.network], batch, tuple(how.size), how.dtype)
    row: dict = {"network": how.network, "batch": batch, "size": tuple(how.size), "dtype": how.dtype}
    sides, counts, rates = {}, {}, {}
    for name in names:
        pipe, process = start(name, *arguments)
        row[name] = pipe.recv()
        if isinstance(row[name], str):
            row[name] = {"failed": row[name]}
            continue
        sides[name] = (pipe, process)
        pipe.send(2)
        counts[name], rates[name] = max(1, round(how.seconds * pipe.recv() / batch)), []
    for _ in range(how.repeats):
        for name, (pipe, _) in sides.items():
            pipe.send(counts[name])
            rates[name].append(pipe.recv())
    for name, (pipe, process) in sides.items():
        pipe.send(0)
        process.join()
        flops, devices = row[name].pop("flops"), row[name].pop("devices")
        rate = float(np.median(rates[name]))
        row[name] |= {"images_per_s": rate, "blocks": [round(r, 3) for r in rates[name]]}
        if flops:
            row[name] |= {"tflops_per_s": flops * rate / 1e12, "devices": devices}
            if how.peak_tflops:
                row[name]["utilisation"] = row[name]["tflops_per_s"] / (how.peak_tflops * devices)
    others = [row[name]["images_per_s"] for name in sides if name.startswith("torch")]
    if "ours" in sides and others:
        row["ratio to eager"] = row["ours"]["images_per_s"] / row["torch eager"]["images_per_s"]
        row["ratio to best"] = row["ours"]["images_per_s"] / max(others)
    return row


def starts(batch: int, how) -> dict:
    """Seconds from nothing to the end of the first step, with an empty compile cache and again."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder  # the processes inherit it
        for name in ("first_start_s", "second_start_s"):
            pipe, process = start("ours", NETWORKS[how.network], batch, tuple(how.size), how.dtype)
            found[name] = pipe.recv()["first_step_s"]
            pipe.send(0)
            process.join()
    return {"network": how.network, "batch": batch, **found, "ratio": found["first_start_s"] / found["second_start_s"]}


def main() -> None:
    """Run the comparison and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--batch", type=int, nargs="+", default=[8])
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("ROWS", "COLS"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--compile", action="store_true", help="also torch.compile + channels_last + autocast")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each timed block")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="of one device, for utilisation")
    parser.add_argument("--only", choices=("ours", "torch"), help="one side alone")
    parser.add_argument("--starts", action="store_true", help="time to the first step, twice, in place of images/s")
    how = parser.parse_args()
    torch_sides = ["torch eager", *(["torch compiled"] if how.compile else [])]
    names = {"ours": ["ours"], "torch": torch_sides, None: ["ours", *torch_sides]}[how.only]
    for batch in how.batch:
        print(json.dumps(starts(batch, how) if how.starts else compare(names, batch, how)), flush=True)


if __name__ == "__main__":
    main()
