"""Run by test_topologies in a process with 8 simulated devices; prints one JSON object of what it measured."""

from __future__ import annotations

import json
import re
import sys
import tempfile

import jax
import numpy as np
import tiny

from brain_diffusion_jax.training import mesh, optimizer, state, step, store

STEPS = 4
KEY = jax.random.key(3)


def jit_layout(data: int, fsdp: int) -> mesh.JitLayout:
    return mesh.JitLayout(mesh.make_mesh(data, fsdp, jax.devices()[: data * fsdp]))


def prepare(task, accumulation=1):
    tx = optimizer.make(tiny.ADAM, 10)

    def init(key):
        return state.create(task.init(key), tx, (0.1,))

    def make_step(axis):
        return step.build_step(task.make_loss(axis), tx, power_ema=(0.1,), accumulation=accumulation)

    return init, make_step


def train(task, layout, accumulation=1, steps=STEPS, start=None, first=0):
    """(losses, state, program) of `steps` steps on the tiny data."""
    init, make_step = prepare(task, accumulation)
    now = layout.create(init, KEY) if start is None else layout.load(start)
    program = layout.compile(make_step)
    data, losses = tiny.Endless(), []
    data.set_state({"next": first})
    for _ in range(steps):
        batch = {**next(data), "index": np.arange(tiny.BATCH, dtype=np.int32)}
        now, metrics = program(now, layout.place(batch), KEY)
        losses.append(float(metrics["loss"]))
    return losses, now, program


def collectives(text: str) -> dict[str, int]:
    """Elements moved by each kind of collective in an HLO text."""
    found: dict[str, int] = {}
    for shapes, kind in re.findall(
        r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(", text
    ):
        sizes = [np.prod([int(n) for n in dims.split(",") if n] or [1]) for dims in re.findall(r"\w\d+\[([\d,]*)\]", shapes)]
        found[kind] = found.get(kind, 0) + int(sum(sizes))
    return found


def main() -> None:
    out: dict = {"devices": jax.device_count(), "losses": {}}
    layouts = {
        "one": (lambda: jit_layout(1, 1), 1),
        "data8": (lambda: jit_layout(8, 1), 1),
        "fsdp8": (lambda: jit_layout(1, 8), 1),
        "4x2": (lambda: jit_layout(4, 2), 1),
        "pmap8": (mesh.PmapLayout, 1),
        "accumulated4": (lambda: jit_layout(1, 1), 4),
        "accumulated4 on 2": (lambda: jit_layout(2, 1), 4),
    }
    for kind, task in {"diffusion": tiny.diffusion_task(), "age": tiny.age_task()}.items():
        for name, (make, accumulation) in layouts.items():
            out["losses"][f"{kind} {name}"] = train(task, make(), accumulation)[0]
    norm = tiny.age_task(norm=True)
    for name in ("one", "data8", "pmap8"):
        out["losses"][f"norm {name}"] = train(norm, layouts[name][0]())[0]

    # Restored on another topology, from a state saved half-way on eight devices.
    task = tiny.diffusion_task()
    with tempfile.TemporaryDirectory() as folder:
        _, half, _ = train(task, layouts["fsdp8"][0](), steps=2)
        saved = store.Store(folder)
        saved.save(half, {"any": 1})
        saved.wait()
        for name in ("one", "data8", "pmap8", "4x2"):
            layout = layouts[name][0]()
            restored, _ = saved.restore(layout.abstract(prepare(task)[0], KEY))
            rest = train(task, layout, steps=STEPS - 2, start=restored, first=2)[0]
            out["losses"][f"resumed {name}"] = out["losses"]["diffusion one"][:2] + rest
        saved.close()
    with tempfile.TemporaryDirectory() as folder:
        _, half, _ = train(task, mesh.PmapLayout(), steps=2)
        saved = store.Store(folder)
        saved.save(mesh.PmapLayout().stored(half), {"any": 1})
        saved.wait()
        layout = jit_layout(4, 1)
        restored, _ = saved.restore(layout.abstract(prepare(task)[0], KEY))
        out["losses"]["resumed pmap to 4"] = (
            out["losses"]["diffusion one"][:2] + train(task, layout, steps=2, start=restored, first=2)[0]
        )
        saved.close()

    # Memory and communication of a network wide enough that its weights matter.
    wide = tiny.diffusion_task(width=128)
    for name in ("one", "data8", "fsdp8"):
        layout = layouts[name][0]()
        init, make_step = prepare(wide)
        like = layout.abstract(init, KEY)
        batch = {**next(tiny.Endless()), "index": np.arange(tiny.BATCH, dtype=np.int32)}
        program = layout.compile(make_step)
        placed = layout.place(batch)
        program.compile(like, placed, KEY)
        kept = {"params": like.params, "opt_state": like.opt_state}
        shards = [np.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(kept)]
        out[name] = {
            "bytes": int(sum(shards)),
            "parameters": state.count_parameters(like.params),
            "collectives": collectives(program.hlo()),
            "flops": program.flops,
        }
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
