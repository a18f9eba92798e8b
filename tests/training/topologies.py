"""Run by test_topologies in a process with 8 simulated devices; prints one JSON object of what it measured."""

from __future__ import annotations

import json
import sys
import tempfile

import jax
import numpy as np
import tiny

from brain_diffusion_jax.training import assembly, state
from brain_diffusion_jax.training.devices import mesh
from brain_diffusion_jax.training.devices.collectives import Program, traffic
from brain_diffusion_jax.training.run_folder import store
from brain_diffusion_jax.training.settings import TrainSettings

STEPS = 4
KEY = jax.random.key(3)


def jit_layout(data: int, fsdp: int) -> mesh.JitLayout:
    return mesh.JitLayout(mesh.make_mesh(data, fsdp, jax.devices()[: data * fsdp]))


LAYOUTS = {
    "one": lambda: jit_layout(1, 1),
    "two": lambda: jit_layout(2, 1),
    "data4": lambda: jit_layout(4, 1),
    "data8": lambda: jit_layout(8, 1),
    "fsdp8": lambda: jit_layout(1, 8),
    "fsdp2": lambda: jit_layout(1, 2),
    "4x2": lambda: jit_layout(4, 2),
    "pmap8": mesh.PmapLayout,
}


class Trainer:
    """A task in a layout, compiled once."""

    def __init__(self, task, layout: str, accumulation: int = 1) -> None:
        how = TrainSettings(power_ema=(0.1,), accumulation=accumulation)
        self.layout = LAYOUTS[layout]()
        self.init = assembly.initial_state(task, how)
        self.like = self.layout.abstract(self.init, KEY)
        self.program = self.layout.compile(assembly.step_maker(task, how, self.layout))

    def place(self, host):
        """A whole state, as the layout wants it."""
        return self.layout.load(
            jax.tree.map(lambda a, like: jax.device_put(np.asarray(a), like.sharding), host, self.like)
        )

    def train(self, now, first=0, steps=STEPS, unknown=0):
        """(losses, state) of `steps` steps on the tiny data."""
        data, losses = tiny.Endless(unknown=unknown), []
        data.set_state({"next": first})
        for _ in range(steps):
            batch = {**next(data), "index": np.arange(tiny.BATCH, dtype=np.int32)}
            now, metrics = self.program(now, self.layout.place(batch), KEY)
            losses.append(float(metrics["loss"]))
        return losses, now


def trajectories() -> tuple[dict[str, list[float]], dict[str, Trainer]]:
    cases = {
        "diffusion": (
            tiny.diffusion_task(),
            ["one", "data4", "data8", "fsdp8", "4x2", "pmap8", "one/4", "two/4", "fsdp2/4"],
        ),
        "age": (tiny.age_task(), ["one", "4x2", "pmap8", "two/4"]),
        "norm": (tiny.age_task(norm=True), ["one", "4x2", "pmap8"]),
        "class": (tiny.class_task(), ["one", "4x2", "pmap8", "one/4"]),
        "gan": (tiny.gan_task(), ["one", "4x2", "pmap8", "one/4"]),
        "vae-gan": (tiny.vae_gan_task(), ["one", "4x2", "pmap8", "one/4"]),
        "autoencoder": (tiny.autoencoder_task(), ["one", "4x2", "pmap8", "two/4"]),
        "latent_diffusion": (tiny.latent_task(), ["one", "4x2", "pmap8", "two/4"]),
    }
    labelled = ("age", "class")
    losses, trainers = {}, {}
    for kind, (task, names) in cases.items():
        start = None
        for name in names:
            layout, _, parts = name.partition("/")
            trainer = trainers[f"{kind} {name}"] = Trainer(task, layout, int(parts or 1))
            if start is None:
                start = jax.tree.map(np.asarray, trainer.layout.create(trainer.init, KEY))
            losses[f"{kind} {name}"] = trainer.train(trainer.place(start))[0]
            if kind in labelled:  # three of eight labels are absent, of which parts hold different numbers
                losses[f"few labels: {kind} {name}"] = trainer.train(trainer.place(start), unknown=3)[0]
    sharded = trainers["diffusion 4x2"].layout.create(trainers["diffusion 4x2"].init, KEY)
    first = jax.tree.leaves(trainers["diffusion one"].layout.create(trainers["diffusion one"].init, KEY))
    same = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(sharded), first, strict=True)]
    losses["init is the same"] = [float(all(same))]
    return losses, trainers


def restored(trainers: dict[str, Trainer]) -> dict[str, list[float]]:
    """Two steps in one layout, saved, two steps in another."""
    found = {}
    pairs = [("fsdp8", "one"), ("fsdp8", "pmap8"), ("pmap8", "4x2"), ("one", "data4")]
    for before, after in pairs:
        old, new = trainers[f"diffusion {before}"], trainers[f"diffusion {after}"]
        start = jax.tree.map(np.asarray, trainers["diffusion one"].layout.create(old.init, KEY))
        with tempfile.TemporaryDirectory() as folder:
            first, half = old.train(old.place(start), steps=2)
            saved = store.Store(folder)
            saved.save(old.layout.stored(half), {"any": 1})
            saved.wait()
            state_again, host = saved.restore(new.like)
            assert host == {"any": 1}
            found[f"{before} to {after}"] = first + new.train(new.layout.load(state_again), first=2, steps=2)[0]
            saved.close()
    return found


def costs() -> dict:
    """Memory and communication of a network wide enough that its weights matter."""
    found = {}
    for name in ("data8", "fsdp8"):
        trainer = Trainer(tiny.diffusion_task(width=128), name)
        batch = {**next(tiny.Endless()), "index": np.arange(tiny.BATCH, dtype=np.int32)}
        program = trainer.program.compile(trainer.like, trainer.layout.place(batch), KEY)
        kept = {"params": trainer.like.params, "opt_state": trainer.like.opt_state}
        shards = [np.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(kept)]
        found[name] = {
            "bytes": int(sum(shards)),
            "parameters": state.count_parameters(trainer.like.params),
            "collectives": {t.kind: t.bytes for t in traffic(Program(program.as_text()).collectives())},
            "flops": trainer.program.flops,
        }
    return found


if __name__ == "__main__":
    measured, trainers = trajectories()
    json.dump({"losses": measured, "restored": restored(trainers), "costs": costs()}, sys.stdout)
