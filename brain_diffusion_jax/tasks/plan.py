"""What a step of a config would cost: estimated from shapes, or compiled for the devices at hand or for a pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from ml_collections import ConfigDict

from brain_diffusion_jax.contract import Contract
from brain_diffusion_jax.covariates import Schema
from brain_diffusion_jax.data.prepare.nifti import box_grid
from brain_diffusion_jax.data.prepare.pipeline import Preparation
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.losses.stages import Staged
from brain_diffusion_jax.tasks.spec import DataInfo, spec_of
from brain_diffusion_jax.training import assembly
from brain_diffusion_jax.training.devices import compiled, estimate, host, mesh, pod
from brain_diffusion_jax.training.devices.compiled import CompiledStep
from brain_diffusion_jax.training.settings import TrainSettings
from brain_diffusion_jax.training.step import VOTE
from brain_diffusion_jax.training.task import Task


@dataclass(frozen=True)
class _Planned:
    """A config as training would build it. example: shapes of a batch of all devices together. stages: of its loss."""

    task: Task
    settings: TrainSettings
    section: str
    example: dict[str, Any]

    @property
    def field(self) -> str:
        """Where the config says the batch size."""
        return f"{self.section}.batch_size"

    @property
    def batch_size(self) -> int:
        return int(self.example["index"].shape[0])


@dataclass(frozen=True)
class Compilation:
    """A compiled step beside the estimate of the same step.

    largest: most examples a device that fit, where it was searched. tried: examples a device of every compilation.
    """

    step: CompiledStep
    estimate: estimate.Estimate
    largest: int | None = None
    tried: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """`CompiledStep.to_json`, with the estimate and what a search found."""
        found = {"largest_batch_per_device": self.largest, "tried": list(self.tried)} if self.tried else {}
        return {**self.step.to_json(), **found, "estimate": self.estimate.to_json()}

    def __str__(self) -> str:
        lines = [str(self.step)]
        needed, guess = self.step.needed_bytes, self.estimate.total_bytes
        off = f", {100 * (guess / needed - 1):+.0f} %" if needed else ""
        lines.append(f"{'estimate from shapes':<22} {guess / 2**30:.3f} GiB{off}")
        if self.largest is not None:
            tried = ", ".join(map(str, self.tried))
            lines.append(f"{'largest batch':<22} {self.largest} a device (tried {tried})")
        return "\n".join(lines)


def plan(config: ConfigDict, mesh_text: str = "") -> estimate.Estimate:
    """What a step of a config would cost, from shapes; sizes from the shards, or from the config where there are none.

    mesh_text: devices as "DATAxFSDP"; "": those of the config.
    """
    planned = _planned(config)
    data, fsdp = parse_mesh(mesh_text, planned.settings)
    return _estimate(planned, data, fsdp)


def compile_plan(
    config: ConfigDict, *, topology: str = "", mesh_text: str = "", largest_batch: bool = False
) -> Compilation:
    """The step of a config, compiled for a TPU pod that need not be there, or for the devices at hand (topology "").

    mesh_text: "DATAxFSDP", which must multiply to the devices; "": as the config says. largest_batch: look for the most
    examples a device that fit, instead of data.batch_size. Raises InputError for an unknown topology, a mesh or a
    batch that does not divide, and where a search has no limit to meet.
    """
    planned = _planned(config)
    settings = planned.settings
    if settings.parallelism != "jit":
        raise InputError("config", "train.parallelism", settings.parallelism, "jit, to compile without running")
    layout = _layout(planned, topology, mesh_text)
    devices = list(layout.mesh.devices.flat)
    if not largest_batch:
        step = _compiled(planned, layout)
        return Compilation(step, _estimate(planned, *step.mesh))
    if pod.memory_limit(devices[0]) is None:
        found = f"{devices[0].device_kind}, whose memory is not known"
        raise InputError("command line", "--fit", found, "--topology, or a GPU or TPU at hand")
    parts = layout.devices * settings.accumulation

    def of(batch: int) -> _Planned:
        changed = config.copy_and_resolve_references()
        with changed.unlocked():
            changed[planned.section].batch_size = batch * parts
        return _planned(changed)

    first = max(planned.batch_size // parts, 1)
    most, step, tried = compiled.largest(lambda batch: _compiled(of(batch), layout), first)
    return Compilation(step, _estimate(of(max(most, 1)), *step.mesh), most, tuple(tried))


def _planned(config: ConfigDict) -> _Planned:
    declared = spec_of(config, "config")
    given = declared.read(config)
    if given.data.shards:
        contract = Contract.load(given.data.shards)
        known = DataInfo(contract.schema, contract.image_size, given.data.shards, channels=contract.channels)
    else:
        known = DataInfo(Schema.from_json(config.covariates), planned_size(Preparation(**config.prepare)))
    batch = declared.loading(given, known.schema).batch_size
    resolved = declared.resolve(given, known)
    shape, dtype = declared.stored(resolved, known)
    example = {
        "image": jax.ShapeDtypeStruct((batch, *shape), dtype),
        "values": jax.ShapeDtypeStruct((batch, len(known.schema.names)), "float32"),
        "present": jax.ShapeDtypeStruct((batch, len(known.schema.names)), "bool"),
        "index": jax.ShapeDtypeStruct((batch,), "int32"),
    }
    return _Planned(declared.build(resolved, known), declared.settings(given), declared.section, example)


def _layout(planned: _Planned, topology: str, mesh_text: str) -> mesh.JitLayout:
    """The mesh of a pod, or of the devices at hand, of which a CPU shows as many as the mesh names."""
    settings = planned.settings
    data, fsdp = parse_mesh(mesh_text, settings) if mesh_text else (settings.data_parallel, settings.fsdp)
    if topology:
        devices, where = pod.pod_devices(topology), topology
    else:
        host.prepare(planned.batch_size, accumulation=settings.accumulation, data_parallel=data, fsdp=fsdp)
        devices, where = jax.devices(), "this machine"
    if mesh_text and data * fsdp != len(devices):
        expected = f"DATAxFSDP that multiply to the {len(devices)} devices of {where}, such as {len(devices)}x1"
        raise InputError("command line", "--mesh", mesh_text, expected)
    return mesh.JitLayout(mesh.make_mesh(data, fsdp, devices))


def _compiled(planned: _Planned, layout: mesh.JitLayout) -> CompiledStep:
    settings = planned.settings
    processes = len({device.process_index for device in layout.mesh.devices.flat})
    mesh.require_divisible(planned.batch_size, layout.devices, settings.accumulation, processes, planned.field)
    votes = {VOTE: jax.ShapeDtypeStruct((planned.batch_size,), "float32")} if processes > 1 else {}
    report, _, _ = compiled.compile_step(
        layout,
        assembly.initial_state(planned.task, settings),
        assembly.step_maker(planned.task, settings, layout),
        {**planned.example, **votes},
        settings.accumulation,
    )
    return report


def _estimate(planned: _Planned, data: int, fsdp: int) -> estimate.Estimate:
    settings = planned.settings
    mesh.require_divisible(planned.batch_size, data * fsdp, settings.accumulation, 1, planned.field)
    loss = planned.task.make_loss(None)
    return estimate.estimate(
        assembly.initial_state(planned.task, settings),
        loss,
        planned.example,
        data=data,
        fsdp=fsdp,
        accumulation=settings.accumulation,
        stages=[stage for _, stage in loss.stages] if isinstance(loss, Staged) else (),
    )


def planned_size(preparation: Preparation) -> tuple[int, ...]:
    """Sizes of the images that a preparation would store; slices that are not fitted are the 109x91 of axial ones."""
    if preparation.kind != "volumes":
        return tuple(preparation.fitting.size or (109, 91))
    box = preparation.box
    grid = preparation.fixed_grid() or box_grid(box.size, preparation.spacing_mm or (1.0,) * 3, (0.0,) * 3)
    return box.stored(grid).shape


def parse_mesh(text: str, settings: TrainSettings) -> tuple[int, int]:
    """(data, fsdp) of "8x4", or of the settings where text is empty."""
    if not text:
        return max(settings.data_parallel, 1), settings.fsdp
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) > 0 for p in parts):
        raise InputError("command line", "--mesh", text, "DATAxFSDP, such as 8x4")
    return int(parts[0]), int(parts[1])
