from __future__ import annotations

import pytest

from brain_diffusion_jax.diffusion import plan, schedules


@pytest.mark.parametrize(("sampler", "calls"), [("ddim", 5), ("heun", 9), ("flow_midpoint", 10), ("unipc", 5)])
def test_calls_are_counted_while_the_sampler_runs(sampler: str, calls: int) -> None:
    table = schedules.make("cosine", 1000, 1e-4, 2e-2, False)
    assert plan.network_calls(plan.SamplingConfig(sampler=sampler, num_steps=5), table) == calls
