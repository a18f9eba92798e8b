"""What this machine has for the library, and that it works: for people who ask why, and for reports of bugs.

Holds no path, no host name and no user's name: it may be posted as it is.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from typing import Any

DISTRIBUTION = "brain-diffusion-jax"
# Libraries that decide how the program runs.
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "nibabel")
# A module that tells whether each optional extra of setup.py is installed.
EXTRAS = {
    "parity": ("torch", "monai", "keras"),
    "beam": ("apache_beam",),
    "template": ("nilearn",),
    "hub": ("huggingface_hub",),
    "notebooks": ("ipykernel", "jupytext", "nbmake"),
    "completion": ("shtab",),
    "deepbet": ("deepbet", "torch"),
    "bids": ("bids_validator_deno",),
    "cuda": ("jax_cuda13_plugin",),
    "tpu": ("libtpu",),
}


def describe(*, step: bool = True) -> dict[str, Any]:
    """Versions, machine, devices, compile cache, extras, and seconds of a tiny training step (step: whether to run it).

    A library that is not installed has version None; memory is None where the system does not tell.
    """
    import jax

    from brain_diffusion_jax.training.devices import compile_cache, host

    cache = compile_cache.folder()  # not turned on: the step's compile time is to be told
    found: dict[str, Any] = {
        "versions": {name: _version(name) for name in (DISTRIBUTION, *_LIBRARIES)},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": host.usable_cores(),
        "memory_gib": round(host.machine_bytes() / 2**30, 1) if sys.platform.startswith("linux") else None,
        "devices": [_device(device) for device in jax.local_devices()],
        "compile_cache": {"on": bool(cache), "programs": _programs(cache)},
        "missing_extras": {name: gone for name, wanted in EXTRAS.items() if (gone := _missing(wanted))},
    }
    if step:
        found["step"] = _timed_step()
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(device: Any) -> dict[str, Any]:
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return {"platform": device.platform, "kind": device.device_kind} | (
        {"memory_gib": round(limit / 2**30, 1)} if limit else {}
    )


def _programs(cache: str) -> int:
    return sum(name.endswith("-cache") for name in os.listdir(cache)) if cache and os.path.isdir(cache) else 0


def _missing(modules: tuple[str, ...]) -> list[str]:
    return [module for module in modules if importlib.util.find_spec(module) is None]


def _timed_step() -> dict[str, Any]:
    """Gradients of a convolution: seconds to compile, milliseconds to run, and whether they are finite."""
    import jax
    import jax.numpy as jnp

    from brain_diffusion_jax.models.layers import conv

    layer = conv(16, 2, "conv")
    x = jax.random.normal(jax.random.key(0), (2, 32, 32, 16))
    params = layer.init(jax.random.key(1), x)

    def loss(params: Any, x: Any) -> Any:
        y: Any = layer.apply(params, x)
        return jnp.mean(y**2)

    started = time.perf_counter()
    program = jax.jit(jax.value_and_grad(loss)).lower(params, x).compile()
    compiled = time.perf_counter()
    value, gradients = jax.block_until_ready(program(params, x))
    ran = time.perf_counter()
    leaves = [value, *jax.tree.leaves(gradients)]
    return {
        "compile_s": round(compiled - started, 2),
        "run_ms": round(1000 * (ran - compiled), 2),
        "finite": bool(jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]))),
    }


def text(found: dict[str, Any]) -> str:
    """What `describe` found, a line each."""
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in found["versions"].items())
    devices = "; ".join(
        " ".join(dict.fromkeys(f"{v} GiB" if k == "memory_gib" else v for k, v in d.items())) for d in found["devices"]
    )
    memory = "" if found["memory_gib"] is None else f", {found['memory_gib']} GiB"
    cache = found["compile_cache"]
    kept = f"on, {cache['programs']} programs" if cache["on"] else "off: programs are compiled at every start"
    extras = [
        f'{name} ({", ".join(gone)}): pip install "{DISTRIBUTION}[{name}]"'
        for name, gone in found["missing_extras"].items()
    ]
    lines = [
        f"versions       {versions}",
        f"machine        Python {found['python']}, {found['system']}, {found['cores']} cores{memory}",
        f"devices        {devices}",
        f"compile cache  {kept}",
        *(f"not installed  {line}" for line in extras),
    ]
    if (step := found.get("step")) is not None:
        verdict = "works" if step["finite"] else "WRONG: values that are not finite"
        lines.append(f"a tiny step    {verdict}; compiled in {step['compile_s']} s, ran in {step['run_ms']} ms")
    return "\n".join(lines)
