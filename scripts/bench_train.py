"""Images/s of our train step against MONAI's reference loop in torch: same network, batch and inputs, one run.

  python scripts/bench_train.py                              small network, batch 8, CPU
  python scripts/bench_train.py --network reference --batch 1 4
  python scripts/bench_train.py --network reference --batch 8 32 --dtype bfloat16 --peak-tflops 790   (GPU)

Both sides: noise, noising with a linear schedule, eps prediction, mean squared error, Adam; nothing else
(no averages, no dropping, no clipping). torch variants: eager as published, and with --compile
torch.compile + channels_last + autocast where it runs. Each timing is the median of --repeats blocks.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

NETWORKS = {
    # The reference of REFERENCE R1: 99 M parameters, 401 GFLOP forward a 96x128 picture.
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


def timed(step, batch: int, seconds: float, repeats: int) -> float:
    """Median images/s of `repeats` blocks of about `seconds` each; step(n) runs n steps and waits for them."""
    step(2)
    start = time.perf_counter()
    step(2)
    count = max(1, round(seconds / max((time.perf_counter() - start) / 2, 1e-6)))
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        step(count)
        rates.append(count * batch / (time.perf_counter() - start))
    return float(np.median(rates))


def inputs(batch: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (batch, *size, 1), dtype=np.uint8),
        "context": rng.random((batch, 1, CONTEXT), dtype=np.float32),
    }


def ours(network: dict, batch: int, size: tuple[int, int], dtype: str, how) -> dict[str, float]:
    import jax
    import jax.numpy as jnp
    import optax

    from brain_diffusion_jax.diffusion.process import Process
    from brain_diffusion_jax.models import factory
    from brain_diffusion_jax.training import compile_cache, mesh
    from brain_diffusion_jax.training.state import create
    from brain_diffusion_jax.training.step import build_step, sample_keys

    compile_cache.enable()
    module = factory.unet({**network, "context_dim": CONTEXT, "dtype": dtype})
    process = Process(schedule="linear", prediction="eps")
    data = inputs(batch, size)

    def loss(params, model_state, batch, key):
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
    begin = time.perf_counter()
    state = layout.create(init, key)
    program = layout.compile(lambda axis: build_step(loss, tx, axis_name=axis))
    placed = layout.place({**data, "index": np.arange(batch, dtype=np.int32)})

    def run(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, metrics = program(state, placed, key)
        jax.block_until_ready(metrics)

    run(1)
    first = time.perf_counter() - begin
    rate = timed(run, batch, how.seconds, how.repeats)
    found = {"images_per_s": rate, "first_step_s": first, "tflops_per_s": program.flops / batch * rate / 1e12}
    if how.peak_tflops:
        found["utilisation"] = found["tflops_per_s"] / (how.peak_tflops * layout.devices)
    return found


def torch_loop(network: dict, batch: int, size: tuple[int, int], how, *, fast: bool, dtype: str) -> dict[str, float]:
    import torch
    from monai.networks.nets import DiffusionModelUNet
    from monai.networks.schedulers import DDPMScheduler

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    renamed = {**network, "num_head_channels": network["num_head_channels"]}
    model = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        with_conditioning=True,
        cross_attention_dim=CONTEXT,
        **renamed,
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

    begin = time.perf_counter()
    run(1)
    first = time.perf_counter() - begin
    return {"images_per_s": timed(run, batch, how.seconds, how.repeats), "first_step_s": first}


def main() -> None:
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
    how = parser.parse_args()
    network, size = NETWORKS[how.network], tuple(how.size)
    for batch in how.batch:
        row: dict = {"network": how.network, "batch": batch, "size": size, "dtype": how.dtype}
        if how.only != "torch":
            row["ours"] = ours(network, batch, size, how.dtype, how)
        if how.only != "ours":
            row["torch eager"] = torch_loop(network, batch, size, how, fast=False, dtype="float32")
            if how.compile:
                try:
                    row["torch compiled"] = torch_loop(network, batch, size, how, fast=True, dtype=how.dtype)
                except Exception as error:
                    row["torch compiled"] = {"failed": f"{type(error).__name__}: {error}"[:200]}
        best = max((v.get("images_per_s", 0.0) for k, v in row.items() if k.startswith("torch")), default=0.0)
        if "ours" in row and best:
            row["ratio to eager"] = row["ours"]["images_per_s"] / row["torch eager"]["images_per_s"]
            row["ratio to best"] = row["ours"]["images_per_s"] / best
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
