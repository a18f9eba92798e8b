"""The report of a compiled step, and the search for the largest batch; pods are in tests/training/test_pod.py."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from brain_diffusion_jax.training import assembly
from brain_diffusion_jax.training.devices import compiled, mesh, pod
from brain_diffusion_jax.training.state import tree_bytes


@pytest.fixture(scope="module")
def measured():
    """(report, shapes of the state, of the batch) of a tiny step on this machine's one device."""
    task, how = tiny.diffusion_task(), tiny.train_settings(accumulation=2)
    example = {**next(tiny.Endless()), "index": np.arange(tiny.BATCH, dtype=np.int32)}
    layout = mesh.JitLayout(mesh.make_mesh(1, 1, jax.devices()[:1]))
    parts = assembly.initial_state(task, how), assembly.step_maker(task, how, layout)
    report, program, like = compiled.compile_step(layout, *parts, example, how.accumulation)
    assert program is not None
    return report, like, example


def test_the_report_knows_what_the_step_is_given_and_what_it_gives(measured):
    report, like, example = measured
    assert (report.devices, report.chips, report.batch, report.batch_per_device) == (1, 1, tiny.BATCH, tiny.BATCH // 2)
    # The state, the batch and a key go in; the state takes its own place.
    needed = tree_bytes(like) + tree_bytes(example)
    assert needed <= report.memory.arguments <= needed + 64
    assert report.memory.aliased >= tree_bytes(like) - 64
    assert report.needed_bytes == report.memory.total > report.memory.arguments
    assert report.collectives == ()


def test_what_nobody_tells_is_null_and_not_a_number(measured):
    report, _, _ = measured
    assert pod.memory_limit(jax.devices()[0]) is None  # a CPU names no limit
    assert report.fits is None
    told = report.to_json()
    assert told["fits"] is told["memory_bytes"]["limit"] is None
    assert "unknown" in str(report)
    silent = replace(report, flops_per_device=None, memory=None, needed_bytes=None, collectives=None, fits=False)
    assert silent.to_json()["collectives"] is None
    assert silent.to_json()["memory_bytes"] == {"needed": None, "limit": None}
    assert "not laid out" in str(silent)


def test_operations_are_counted_in_the_program_where_the_compiler_counts_a_loop_once(measured):
    report, _, _ = measured
    assert report.looped
    assert report.flops_per_device < report.counted_flops  # two parts, of which XLA counts one
    assert report.flops_per_chip() == (report.counted_flops, "counted in the program")
    assert replace(report, looped=False).flops_per_chip() == (report.flops_per_device, "compiler")
    assert replace(report, looped=False, devices=2).flops_per_chip()[0] == 2 * report.flops_per_device


@given(st.integers(0, 300), st.integers(1, 100), st.floats(0.5, 2.0))
@settings(max_examples=60, deadline=None)
def test_the_search_finds_the_largest_batch_whatever_memory_does(most, first, power):
    """Memory grows as batch^power: the line is a guess, the answer is not."""
    known = compiled.CompiledStep(
        "TPU", "tpu", 1, 1, (1, 1), 1, 1, 1, None, None, None, None, None, 0.0, False, None, 0.0, {}
    )

    def trial(batch):
        assert batch not in tried
        tried.append(batch)
        needed = int(1000 * batch**power)
        return replace(
            known, batch=batch, fits=batch <= most, needed_bytes=needed, limit_bytes=int(1000 * (most + 0.5) ** power)
        )

    tried = []
    found, report, told = compiled.largest(trial, first)
    assert found == most
    assert told == tried
    assert report.batch == max(most, 1)
    assert report.fits == (most > 0)
    assert len(tried) < 30


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 30.50G of 15.75G hbm. Exceeded by 14.75G.",
            (30.5, 15.75),
        ),
        (
            "the total memory required for HLO temporaries (8.00T) exceeds available HBM (15.75G).",
            (8192, 15.75),
        ),
    ],
)
def test_the_compiler_says_how_much_it_wanted_and_had(message, expected):
    assert pod.out_of_memory(message) == tuple(int(gib * 2**30) for gib in expected)
    assert pod.out_of_memory("out of patience") == (None, None)
