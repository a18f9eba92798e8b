"""What the compiler says of a whole train step: memory, operations, what crosses the links. Nothing runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import jax

from brain_diffusion_jax.training.devices import pod
from brain_diffusion_jax.training.devices.collectives import Program, Traffic, traffic
from brain_diffusion_jax.training.devices.mesh import Init, JitLayout, MakeStep
from brain_diffusion_jax.training.devices.program import StepProgram
from brain_diffusion_jax.training.state import TrainState, count_parameters

MOST_A_DEVICE = 2**16  # examples, where a search ends


@dataclass(frozen=True)
class Memory:
    """Bytes of one device while a step runs, as the compiler laid them out.

    aliased: outputs that take the place of donated arguments.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """All of it: arguments, temporaries, program, and outputs that take nobody's place."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code


@dataclass(frozen=True)
class CompiledStep:
    """A train step as compiled for a mesh. None stands for what the compiler of these devices does not tell.

    memory: of a device; None where the step does not fit and was not laid out. needed_bytes: what it takes of
    limit_bytes. flops_per_device: of XLA's cost analysis; counted_flops: ours, of matrix products and convolutions, a
    device. looped: work stands in loops, of which XLA counts one turn. batch: examples of all devices together.
    compile_seconds: of tracing too, and next to nothing where the compile cache holds the program.
    """

    device_kind: str
    platform: str
    devices: int
    chips: int
    mesh: tuple[int, int]
    batch: int
    accumulation: int
    parameters: int
    memory: Memory | None
    needed_bytes: int | None
    limit_bytes: int | None
    fits: bool | None
    flops_per_device: float | None
    counted_flops: float
    looped: bool
    collectives: tuple[Traffic, ...] | None
    compile_seconds: float
    versions: dict[str, str]

    @property
    def batch_per_device(self) -> int:
        """Examples that a device works on at once."""
        return self.batch // (self.devices * self.accumulation)

    def flops_per_chip(self) -> tuple[float, str]:
        """(operations of a step, who counted them): the compiler, unless it counts loops once or is silent."""
        a_chip = self.devices / self.chips
        if self.flops_per_device is None or self.looped:
            return self.counted_flops * a_chip, "counted in the program"
        return self.flops_per_device * a_chip, "compiler"

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values; null is what the compiler does not tell."""
        flops, source = self.flops_per_chip()
        laid_out = self.memory and {**asdict(self.memory), "total": self.memory.total}
        return {
            "device": self.device_kind,
            "chips": self.chips,
            "devices": self.devices,
            "mesh": {"data": self.mesh[0], "fsdp": self.mesh[1]},
            "batch_size": self.batch,
            "batch_per_device": self.batch_per_device,
            "accumulation": self.accumulation,
            "parameters": self.parameters,
            "memory_bytes": {**(laid_out or {}), "needed": self.needed_bytes, "limit": self.limit_bytes},
            "fits": self.fits,
            "flops_per_chip": flops,
            "flops_source": source,
            "counted_flops_per_chip": self.counted_flops * self.devices / self.chips,
            "collectives": None if self.collectives is None else [one.to_json() for one in self.collectives],
            "compile_seconds": self.compile_seconds,
            "versions": self.versions,
        }

    def __str__(self) -> str:
        flops, source = self.flops_per_chip()
        chips = "" if self.chips == self.devices else f" on {self.chips} chips"
        rows = [
            ("compiled for", f"{self.devices} x {self.device_kind}{chips}"),
            ("mesh (data x fsdp)", f"{self.mesh[0]} x {self.mesh[1]}"),
            ("parameters", f"{self.parameters:,}"),
            ("batch", f"{self.batch} ({self.batch_per_device} a device at once, accumulation {self.accumulation})"),
        ]
        if self.memory is not None:
            rows += [
                ("arguments a device", _gib(self.memory.arguments)),
                ("temporaries a device", _gib(self.memory.temporaries)),
            ]
        limit = "memory of the device unknown" if self.limit_bytes is None else f"of {_gib(self.limit_bytes)}"
        rows += [
            ("together", f"{_gib(self.needed_bytes)} {limit}"),
            ("fits", {True: "yes", False: "NO", None: "unknown"}[self.fits]),
            ("operations a chip", f"{flops / 1e12:.4f} TFLOP a step ({source})"),
        ]
        if self.collectives is None:
            rows.append(("collectives", "unknown: the step was not laid out"))
        elif not self.collectives:
            rows.append(("collectives", "none"))
        for one in self.collectives or ():
            unsure = f", {one.unknown_times} in loops of unknown length" if one.unknown_times else ""
            moved = f"{_mib(one.bytes)}, {_mib(one.link_bytes)} over a link"
            rows.append((one.kind, f"{one.count} among {one.devices} devices, {moved}{unsure}"))
        rows += [
            ("compile time", f"{self.compile_seconds:.0f} s"),
            ("versions", ", ".join(f"{name} {version}" for name, version in self.versions.items())),
        ]
        return "\n".join(f"{name:<22} {text}" for name, text in rows)


def _gib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.3f} GiB"


def _mib(count: int) -> str:
    return f"{count / 2**20:.2f} MiB"


def compile_step(
    layout: JitLayout, init: Init, make_step: MakeStep, example: dict[str, Any], accumulation: int
) -> tuple[CompiledStep, Any, TrainState]:
    """The train step of a layout, lowered and compiled as training does it: (report, program, shapes of the state).

    example: shapes of a whole batch, "index" among them. The program is None where it does not fit.
    """
    devices = list(layout.mesh.devices.flat)
    key = jax.eval_shape(lambda: jax.random.key(0))
    like = layout.abstract(init, key)
    arguments = (
        like,
        {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=layout.batch_sharding) for k, v in example.items()},
        jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=layout.replicated),
    )
    step = layout.compile(make_step)
    started = time.perf_counter()
    program, needed, limit = _compile(step, arguments, devices[0])
    seconds = time.perf_counter() - started
    memory, text = _memory(program), "" if program is None else program.as_text()
    needed = needed if memory is None else memory.total
    read = Program(text) if text else None
    fits = _fits(program is not None, devices[0], needed, limit)
    report = CompiledStep(
        device_kind=devices[0].device_kind,
        platform=devices[0].platform,
        devices=len(devices),
        chips=pod.chip_count(devices),
        mesh=(layout.mesh.shape["data"], layout.mesh.shape["fsdp"]),
        batch=example["index"].shape[0],
        accumulation=accumulation,
        parameters=count_parameters(like.params),
        memory=memory,
        needed_bytes=needed,
        limit_bytes=limit,
        fits=fits,
        flops_per_device=_flops(program),
        counted_flops=step.flops / len(devices),
        looped=read is not None and read.loops_hold_work(),
        collectives=None if read is None else tuple(traffic(read.collectives())),
        compile_seconds=seconds,
        versions=_versions(devices[0].platform),
    )
    return report, program, like


def _compile(step: StepProgram, arguments: tuple[Any, ...], device: Any) -> tuple[Any, int | None, int | None]:
    """(program, or None where it does not fit; bytes needed there; limit)."""
    limit = pod.memory_limit(device)
    try:
        return step.compile(*arguments), None, limit
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        needed, told = pod.out_of_memory(str(error))
        return None, needed, told or limit


def _fits(compiled: bool, device: Any, needed: int | None, limit: int | None) -> bool | None:
    """TPU's compiler refuses what does not fit; others lay it out all the same."""
    if not compiled:
        return False
    if device.platform == "tpu":
        return True
    return None if needed is None or limit is None else needed <= limit


def _memory(program: Any) -> Memory | None:
    found = None if program is None else program.memory_analysis()
    if found is None:
        return None
    return Memory(
        int(found.argument_size_in_bytes),
        int(found.output_size_in_bytes),
        int(found.alias_size_in_bytes),
        int(found.temp_size_in_bytes),
        int(found.generated_code_size_in_bytes),
    )


def _flops(program: Any) -> float | None:
    found = None if program is None else program.cost_analysis()
    value = (found or {}).get("flops")
    return float(value) if value and value > 0 else None


def _versions(platform: str) -> dict[str, str]:
    names = ("jax", "jaxlib", "libtpu") if platform == "tpu" else ("jax", "jaxlib")
    return {name: metadata.version(name) for name in names}


def largest(
    trial: Callable[[int], CompiledStep], first: int, most: int = MOST_A_DEVICE
) -> tuple[int, CompiledStep, list[int]]:
    """(most examples a device that fit, their report, all that were tried), by bisection; 0 with a report if none fit.

    trial: examples a device -> report. Every second trial stands where a line through the last two memories meets the
    limit, which saves most of the compilations.
    """
    low, high, batch = 0, most + 1, first
    reports: dict[int, CompiledStep] = {}
    while high - low > 1:
        reports[batch] = trial(batch)
        if reports[batch].fits:
            low = batch
        else:
            high = batch
        middle = 2 * low if high > most else (low + high) // 2
        guess = _on_the_line([(n, r) for n, r in sorted(reports.items()) if r.fits]) if len(reports) % 2 == 0 else None
        batch = min(max(guess or middle, low + 1), high - 1)
    return low, reports[low or high], list(reports)


def _on_the_line(fit: list[tuple[int, CompiledStep]]) -> int | None:
    """Where memory, growing as between the two largest batches that fit, meets the limit."""
    if len(fit) < 2:
        return None
    (a, one), (b, two) = fit[-2:]
    if one.needed_bytes is None or two.needed_bytes is None or two.limit_bytes is None:
        return None
    slope = (two.needed_bytes - one.needed_bytes) / (b - a)
    return b + int((two.limit_bytes - two.needed_bytes) / slope) if slope > 0 else None
