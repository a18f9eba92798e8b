"""Collectives are read from HLO text however the compiler wrote them; the texts are cut from real programs."""

from __future__ import annotations

import pytest

from brain_diffusion_jax.training.devices.collectives import Collective, Program, traffic

EIGHT = "replica_groups={{0,1,2,3,4,5,6,7}}"


def program(*computations: str) -> Program:
    return Program("HloModule jit_step, num_partitions=8\n\n" + "\n\n".join(computations))


def entry(*lines: str) -> str:
    return "ENTRY %main (p: f32[4]) -> f32[4] {\n" + "\n".join(f"  {line}" for line in lines) + "\n}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "%all-reduce.8 = (f32[128]{0:T(128)S(1)}, f32[3,3,1,128]{3,2,1,0:T(1,128)}, /*index=2*/f32[]{:T(128)}) "
            f"all-reduce(%a, %b, %c), channel_id=4, {EIGHT}, to_apply=%add",
            Collective("all-reduce", 4 * (128 + 1152 + 1), 8),
        ),
        (
            f"%ag = bf16[16,128]{{1,0}} all-gather(%a), channel_id=1, {EIGHT}, dimensions={{0}}",
            Collective("all-gather", 16 * 128 * 2, 8),
        ),
        (
            "%ag = (f32[2,128]{1,0}, f32[16,128]{1,0}) all-gather-start(%a), channel_id=1, replica_groups=[1,8]<=[8]",
            Collective("all-gather", 16 * 128 * 4, 8),
        ),
        (
            "%rs = f32[2,128]{1,0} reduce-scatter(%a), channel_id=1, replica_groups=[4,2]<=[8], dimensions={0}",
            Collective("reduce-scatter", 2 * 2 * 128 * 4, 2),
        ),
        (
            "%ag = f32[16]{0} all-gather(%a), channel_id=1, replica_groups=mesh['axis_0'=1,'axis_1'=2,'axis_2'=4], "
            "device_ids=([4,2]T(1,0)) {'axis_1'}, dimensions={0}",
            Collective("all-gather", 64, 2),
        ),
        (
            "%ar = f32[16]{0} all-reduce(%a), channel_id=1, replica_groups=mesh['axis_0'=8] {'axis_0':(1)4}",
            Collective("all-reduce", 64, 4),
        ),
        ("%ar = pred[16]{0} all-reduce(%a), channel_id=1, replica_groups={}", Collective("all-reduce", 16, 8)),
        (
            "%cp = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%a), channel_id=2, "
            "source_target_pairs={{0,1},{1,2},{2,0}}",
            Collective("collective-permute", 16, 3),
        ),
    ],
)
def test_each_way_to_write_a_collective(line, expected):
    assert program(entry(line)).collectives() == [expected]


def test_what_ends_a_collective_and_what_only_names_it_does_not_count():
    lines = (
        f"%all-reduce-start = f32[4]{{0}} all-reduce-start(%p), channel_id=1, {EIGHT}",
        "%all-reduce-done = f32[4]{0} all-reduce-done(%all-reduce-start)",
        "%get-tuple-element.1 = f32[4]{0} get-tuple-element(%all-reduce.1), index=0",
        "%alone = f32[4]{0} all-reduce(%p), channel_id=2, replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}",
    )
    assert program(entry(*lines)).collectives() == [Collective("all-reduce", 16, 8)]


def test_pieces_of_one_channel_are_one_collective():
    fused = [
        f"%fused_{n} (p: f32[16]) -> f32[128] {{\n"
        f"  %all-gather.{n} = f32[128]{{0}} all-gather(%p), channel_id=3, {EIGHT}, dimensions={{0}}\n"
        f'  ROOT %c = f32[128]{{0}} custom-call(%all-gather.{n}), custom_call_target="AsyncCollectiveStart"\n}}'
        for n in (1, 2, 3)
    ]
    calls = [f"%f.{n} = f32[128]{{0}} fusion(%p), kind=kCustom, calls=%fused_{n}" for n in (1, 2, 3)]
    assert program(*fused, entry(*calls)).collectives() == [Collective("all-gather", 512, 8)]


def test_an_all_reduce_of_which_each_keeps_a_slice_is_a_reduce_scatter():
    scatter = (
        "%all-reduce-scatter (input: f32[3,128]) -> f32[3,16] {\n"
        "  %input = f32[3,128]{1,0} parameter(0)\n"
        f"  %all-reduce.14 = f32[3,128]{{1,0}} all-reduce(%input), channel_id=11, {EIGHT}, to_apply=%add\n"
        "  ROOT %dynamic-slice.34 = f32[3,16]{1,0} dynamic-slice(%all-reduce.14, %z, %i), dynamic_slice_sizes={3,16}\n}"
    )
    found = program(scatter, entry("%f = f32[3,16]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter"))
    assert found.collectives() == [Collective("reduce-scatter", 4 * 3 * 128, 8)]


def loop(more: str, condition: str = "ROOT %lt = pred[] compare(%i, %bound), direction=LT") -> Program:
    body = (
        f"%body (p: f32[4]) -> f32[4] {{\n  %ar = f32[4]{{0}} all-reduce(%p), channel_id=1, {EIGHT}\n"
        "  ROOT %c = f32[4]{0} convolution(%ar, %k), window={size=3}\n}"
    )
    asked = f"%until (p: s32[]) -> pred[] {{\n  %bound = s32[]{{:T(128)}} constant(5)\n  {condition}\n}}"
    return program(
        body,
        asked,
        entry(f"%w = f32[4]{{0}} while(%p), condition=%until, body=%body{more}"),
        "%dead (p: f32[]) -> f32[] {\n}",
    )


def test_a_collective_in_a_loop_counts_as_often_as_the_loop_runs():
    assert loop("").collectives() == [Collective("all-reduce", 16, 8, times=5)]
    noted = loop(', backend_config={"known_trip_count":{"n":"7"}}')
    assert noted.collectives() == [Collective("all-reduce", 16, 8, times=7)]
    assert noted.loops_hold_work()
    unknown = loop("", "ROOT %lt = pred[] fusion(%p), calls=%dead")
    assert unknown.collectives() == [Collective("all-reduce", 16, 8, times=None)]
    (sum_of_it,) = traffic(unknown.collectives())
    assert (sum_of_it.count, sum_of_it.unknown_times) == (1, 1)


def test_what_nothing_calls_does_not_count():
    dead = f"%dead (p: f32[4]) -> f32[4] {{\n  %ar = f32[4]{{0}} all-reduce(%p), channel_id=1, {EIGHT}\n}}"
    found = program(dead, entry("%n = f32[4]{0} negate(%p)"))
    assert found.collectives() == []
    assert not found.loops_hold_work()


@pytest.mark.parametrize("names", ["branch_computations={%b8, %b4}", "true_computation=%b8, false_computation=%b4"])
def test_of_branches_that_which_sends_most_counts(names):
    branches = [
        f"%b{n} (p: f32[{n}]) -> f32[{n}] {{\n  %ar = f32[{n}]{{0}} all-reduce(%p), channel_id={n}, {EIGHT}\n}}"
        for n in (4, 8)
    ]
    chosen = program(*branches, entry(f"%c = f32[4]{{0}} conditional(%i, %p, %p), {names}"))
    assert chosen.collectives() == [Collective("all-reduce", 32, 8)]


def test_a_ring_moves_what_is_known_of_rings():
    reduced, gathered = Collective("all-reduce", 800, 8), Collective("all-gather", 800, 8)
    scattered = Collective("reduce-scatter", 800, 8, times=2)
    assert reduced.link_bytes == gathered.link_bytes + scattered.link_bytes == 2 * 7 * 100
    sums = traffic([reduced, reduced, gathered, scattered])
    assert [(s.kind, s.count, s.bytes) for s in sums] == [
        ("all-reduce", 2, 1600),
        ("reduce-scatter", 2, 1600),
        ("all-gather", 1, 800),
    ]
    assert sums[1].link_bytes == 2 * scattered.link_bytes
