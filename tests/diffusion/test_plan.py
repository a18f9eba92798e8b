"""Sampling configurations: their product, names and programs, and that they run together as alone."""

from __future__ import annotations

import exact_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from brain_diffusion_jax.array_types import Condition
from brain_diffusion_jax.diffusion import plan, schedules
from brain_diffusion_jax.diffusion.process import Process
from brain_diffusion_jax.errors import InputError

PROCESS = Process(schedule="cosine", prediction="x0", clip_x0=False)


SHAPE = (3, 3, 1)


CONDITION = Condition(np.asarray([[0.1], [0.5], [-0.4], [0.9], [0.2]], np.float32), np.ones((5, 1), bool))


TRACES = []


def network(params, x, t, condition):
    TRACES.append(x.shape)  # once a trace
    level = PROCESS.level(jnp.asarray(t, jnp.int32))
    return exact_models.gaussian(x, level, condition, mean=params["mean"]).x0


def denoiser(mean=0.1):
    return PROCESS.denoise_fn(Partial(network, {"mean": jnp.float32(mean)}))


AXES = {
    "sampler": ["ddim", "dpm_solver_2m"],
    "num_steps": [3],
    "guidance": ["cfg", "interval"],
    "guidance_scale": [1.0, 3.0],
    "interval": [(0.1, 2.0)],
    "eta": [0.0, 1.0],
    "seed": [0, 1],
}


def test_configurations_are_the_product_of_what_applies():
    found = plan.sampling_configs(AXES)
    # eta multiplies ddim alone, the interval applies to one rule alone
    assert len(found) == 2 * 2 * 2 * (2 + 1)
    assert len({config.key("model") for config in found}) == len(found)
    assert found[0].key("model") != found[0].key("other model")
    assert found[0].key() == plan.sampling_configs(AXES)[0].key()
    groups = plan.programs(found)
    assert len(groups) == 4
    assert sum(map(len, groups)) == len(found)
    finished = {config.key() for config in groups[0]} | {groups[1][0].key()}
    rest = plan.programs(found, finished)
    assert [len(group) for group in rest] == [len(groups[1]) - 1, *(len(group) for group in groups[2:])]
    assert (
        plan.sampling_configs({"sampler": ["unipc"], "order": [2, 3]})[1].program
        != plan.sampling_configs({"sampler": ["unipc"]})[0].program
    )
    for config in found[:3]:
        assert config.sampler in config.label()


def test_keys_on_disk_are_those_of_release_0_1():
    assert plan.SamplingConfig().key("a") == "1effe7ca26a4910f"
    options = dict(sampler_options=(("churn", 0.1),), guidance_options=(("rescale", 0.5),))
    assert plan.SamplingConfig("heun", guidance="rescaled", **options).key() == "bcdb21802fcc5349"


def test_configurations_run_together_as_alone_with_common_noise():
    found = plan.sampling_configs(
        {"sampler": ["ddim"], "num_steps": [3], "guidance_scale": [1.0, 3.0], "eta": [0.5], "seed": [0, 4]}
    )
    (group,) = plan.programs(found)
    together = plan.run_configs(group, denoiser(), PROCESS.table, CONDITION, SHAPE)
    assert together.shape == (4, 5, *SHAPE)
    apart = plan.run_configs(group, denoiser(), PROCESS.table, CONDITION, SHAPE, plain_apart=True)
    np.testing.assert_allclose(apart, together, atol=3e-5)
    for config, got in zip(group, together):
        alone = plan.run_configs((config,), denoiser(), PROCESS.table, CONDITION, SHAPE)[0]
        np.testing.assert_allclose(alone, got, atol=3e-5)
    late = Condition(CONDITION.values[3:], CONDITION.present[3:])
    tail = plan.run_configs(group, denoiser(), PROCESS.table, late, SHAPE, start=3)
    np.testing.assert_allclose(tail, together[:, 3:], atol=3e-5)
    seeds = [config.seed for config in group]
    assert np.abs(together[seeds.index(0)] - together[seeds.index(4)]).max() > 0.05


def test_without_guidance_the_null_branch_is_not_computed():
    rows = []

    def watched(x, t, condition):
        jax.debug.callback(lambda x: rows.append(len(x)), x)
        return exact_models.gaussian(x, PROCESS.level(jnp.asarray(t, jnp.int32)), condition).x0

    group = plan.sampling_configs({"num_steps": [3], "guidance_scale": [3.0, 1.0, 2.0]})
    for apart, calls in ((True, 2 + 1 + 2), (False, 2 + 2 + 2)):
        rows.clear()
        arguments = (PROCESS.denoise_fn(watched), PROCESS.table, CONDITION, SHAPE)
        plan.run_configs(group, *arguments, plain_apart=apart).block_until_ready()
        jax.effects_barrier()
        assert sum(rows) == 3 * 5 * calls


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"sampler": ["dddim"]}, "ddim"),
        ({"sampler": ["dpm_solver_2m"], "eta": [0.5]}, "axis"),
        ({"sampler": ["ddim"], "eta": [2.0]}, "0 to 1"),
        ({"guidance": ["interval"], "interval": [(2.0, 1.0)]}, "low <= high"),
        ({"spacing": ["linar"]}, "linear"),
        ({"num_steps": [0]}, "at least 1"),
        ({"guidance_scale": [float("nan")]}, "finite"),
        ({"guidanse_scale": [1.0]}, "guidance_scale"),
    ],
)
def test_bad_axes_are_named(axes, words):
    with pytest.raises(InputError, match=words):
        plan.sampling_configs(axes)


@pytest.mark.parametrize(("sampler", "calls"), [("ddim", 5), ("heun", 9), ("flow_midpoint", 10), ("unipc", 5)])
def test_calls_are_counted_while_the_sampler_runs(sampler: str, calls: int) -> None:
    table = schedules.make("cosine", 1000, 1e-4, 2e-2, False)
    assert plan.network_calls(plan.SamplingConfig(sampler=sampler, num_steps=5), table) == calls
