"""The step of every kind, compiled by TPU's own compiler for a pod that is not there: what it holds, what it sends.

Networks are wide enough that their weights stand out from the scalars; nothing runs.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
import tiny

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.tasks.spec import TASKS
from brain_diffusion_jax.training import assembly
from brain_diffusion_jax.training.devices import compiled, mesh, pod
from brain_diffusion_jax.training.devices.collectives import Program

pytestmark = pytest.mark.tpu
WIDE = {
    "diffusion": lambda: tiny.diffusion_task(width=128),
    "age": lambda: tiny.age_task(dense=128),
    "class": lambda: tiny.class_task(dense=128),
    "gan": tiny.gan_task,
    "autoencoder": tiny.autoencoder_task,
    "latent_diffusion": lambda: tiny.latent_task(width=64, channels=16),
}
LAYOUTS = {"data": (8, 1), "fsdp": (1, 8)}
FEW = 1024  # bytes: losses, norms, fractions, statistics of small layers; none grows with the weights


@pytest.fixture(scope="module")
def devices():
    pytest.importorskip("libtpu", reason="the extra `tpu` is not installed")
    return pod.pod_devices("v5e:2x4")


@functools.cache
def step(kind: str, layout: str, batch: int = 8, accumulation: int = 1):
    """(report, compiled program, shapes of the state) of a kind in a layout of v5e:2x4."""
    task, how = WIDE[kind](), tiny.train_settings(power_ema=(0.1,), accumulation=accumulation)
    one = {**next(tiny.Endless()), "index": np.zeros(tiny.BATCH, np.int32)}
    example = {k: jax.ShapeDtypeStruct((batch, *v.shape[1:]), v.dtype) for k, v in one.items()}
    spread = mesh.JitLayout(mesh.make_mesh(*LAYOUTS[layout], pod.pod_devices("v5e:2x4")))
    parts = assembly.initial_state(task, how), assembly.step_maker(task, how, spread)
    return compiled.compile_step(spread, *parts, example, how.accumulation)


def sent(kind: str, layout: str, *more: int) -> dict[str, list[int]]:
    """Bytes of every collective of more than FEW, none of which a step does twice, by kind of collective."""
    found: dict[str, list[int]] = {}
    for one in Program(step(kind, layout, *more)[1].as_text()).collectives():
        if one.bytes > FEW:
            assert one.times == 1
            found.setdefault(one.kind, []).append(one.bytes)
    return found


def float_bytes(tree, *, split: bool = False) -> int:
    """Bytes of a tree of float32; split: of the arrays alone that eight devices can split."""
    return sum(4 * leaf.size for leaf in jax.tree.leaves(tree) if not split or mesh.partition(leaf.shape, 8))


def test_every_kind_is_compiled():
    assert set(WIDE) == set(TASKS)


@pytest.mark.parametrize("kind", WIDE)
def test_data_parallel_sends_the_gradient_once_and_nothing_else(devices, kind):
    everything = float_bytes(step(kind, "data")[2].params)
    found = sent(kind, "data")
    assert set(found) == {"all-reduce"}
    assert len(found["all-reduce"]) == (2 if kind == "gan" else 1)  # the generator moves in some updates only
    # Equal gradients, as of two biases on one sum, are sent once.
    assert 0.95 * everything < sum(found["all-reduce"]) <= everything + FEW


@pytest.mark.parametrize("kind", WIDE)
def test_fsdp_gathers_weights_once_reduces_gradients_once_and_nothing_else(devices, kind):
    like = step(kind, "fsdp")[2]
    everything, learned = float_bytes(like.params), float_bytes(like.params, split=True)
    frozen = float_bytes(like.model_state, split=True)  # a codec, of which a step may use a part
    assert learned
    found = sent(kind, "fsdp")
    assert set(found) <= {"all-gather", "reduce-scatter", "all-reduce"}
    assert 0.95 * learned < sum(found["all-gather"]) <= learned + frozen + FEW
    reduced = sum(found.get("reduce-scatter", [])) + sum(found.get("all-reduce", []))
    assert 0.95 * everything < reduced <= everything + FEW


def test_parts_of_a_batch_are_summed_before_they_are_reduced(devices):
    parts, whole = sent("diffusion", "fsdp", 16, 2), sent("diffusion", "fsdp")
    assert parts.keys() == whole.keys()
    for kind, sizes in parts.items():
        assert sum(sizes) == pytest.approx(sum(whole[kind]), abs=FEW)
    assert step("diffusion", "fsdp", 16, 2)[0].flops_per_chip()[1] == "counted in the program"


@pytest.mark.parametrize("kind", WIDE)
def test_fsdp_replicates_nothing_that_can_be_split(devices, kind):
    _, program, like = step(kind, "fsdp")
    kept = [jax.tree.leaves(side) for side in (program.input_shardings[0][0], program.output_shardings[0])]
    parts = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(like):
        expected = leaf.size // 8 if mesh.partition(leaf.shape, 8) else leaf.size
        parts += expected < leaf.size
        for side in kept:
            assert np.prod(side[0].shard_shape(leaf.shape)) == expected, jax.tree_util.keystr(path)
            side.pop(0)
    assert parts >= 5  # of weights, of two averages and of two moments


def test_the_report_is_the_compilers(devices):
    report, _, _ = step("diffusion", "data")
    assert (report.chips, report.devices, report.mesh) == (8, 8, (8, 1))
    assert report.fits is True
    assert 15 < report.limit_bytes / 2**30 < 16  # a chip has 16 GB, of which the system keeps some
    assert report.memory.arguments > 4 * 4 * report.parameters
    assert step("diffusion", "fsdp")[0].memory.arguments < report.memory.arguments / 5
    flops, source = report.flops_per_chip()
    assert source == "compiler"
    assert flops == pytest.approx(report.counted_flops, rel=0.2)  # XLA leaves out products with padding
    assert {"jax", "libtpu"} <= set(report.versions)


def test_what_does_not_fit_is_said_with_what_it_wants(devices):
    report, program, _ = step("diffusion", "data", batch=2**25)
    assert program is None
    assert report.fits is False
    assert report.needed_bytes > report.limit_bytes > 15 * 2**30
    assert report.to_json()["collectives"] is None


def test_pods_are_known_by_name(devices):
    assert pod.chip_count(pod.pod_devices("v3:2x2")) == 4  # of two devices each
    assert len(pod.pod_devices("v4:2x2x1")) == 4  # one device a chip, as JAX shows them
    assert len(pod.pod_devices("v5e:1x1")) == 1
    with pytest.raises(InputError, match=r"--topology: found v5e:16x17; expected .*v5e:16x16"):
        pod.pod_devices("v5e:16x17")
    with pytest.raises(InputError, match="a TPU pod such as"):
        pod.pod_devices("h100:8")


def test_a_mesh_covers_the_pod(devices):
    with pytest.raises(InputError, match="8 devices in all"):
        mesh.make_mesh(4, 1, devices)
