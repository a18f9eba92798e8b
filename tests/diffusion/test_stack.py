"""Stacks of slices: what their noise shares, and the coupling of neighbours."""

from __future__ import annotations

import exact_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_models import end

from brain_diffusion_jax.array_types import Condition
from brain_diffusion_jax.diffusion import levels, samplers, schedules, stack

KEY = jax.random.key(3)


TABLE = schedules.make("linear")


PATH = levels.select(TABLE, 10, "trailing")


def test_stack_noise_is_white_in_a_slice_and_shared_between_neighbours():
    noise = np.asarray(stack.shared_noise(KEY, (24, 32, 30, 1), correlation_slices=3.0, cutoff=0.4))[..., 0]
    assert abs(noise.std() - 1) < 0.03
    power = np.abs(np.fft.fft2(noise)) ** 2 / (32 * 30)
    low = stack._low_pass((32, 30), 0.4)[:, :15].astype(bool)
    assert abs(power[:, :, :15][:, low].mean() - 1) < 0.25
    assert abs(power[:, :, :15][:, ~low].mean() - 1) < 0.05
    smooth = np.asarray(stack.low_frequencies(jnp.asarray(noise)[..., None], 0.4))[..., 0]
    neighbours = np.corrcoef(smooth[:-1].ravel(), smooth[1:].ravel())[0, 1]
    far = np.corrcoef(smooth[:-12].ravel(), smooth[12:].ravel())[0, 1]
    rough = np.corrcoef((noise - smooth)[:-1].ravel(), (noise - smooth)[1:].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / 36), abs=0.05)
    assert abs(far) < 0.35
    assert abs(rough) < 0.05
    off = np.asarray(stack.shared_noise(KEY, (24, 16, 16, 1), shared_fraction=0.0))
    assert abs(np.corrcoef(off[:-1].ravel(), off[1:].ravel())[0, 1]) < 0.05


def test_a_stack_is_smoother_through_its_planes_and_couplings_are_off_at_zero():
    condition = Condition(jnp.zeros((12, 1)), jnp.ones((12, 1), bool))
    shape, sampler = (16, 15, 1), samplers.get("ddim")

    def sample(**settings):
        return stack.sample_stack(sampler, exact_models.gaussian, PATH, condition, KEY, shape, **settings)

    alone = sample(correlation_slices=1e-6, overlap_scale=0.0)
    noise, both = sample(overlap_scale=0.0), sample(overlap_scale=0.5)
    roughness = [float(stack.adjacent_differences(v).mean()) for v in (alone, noise, both)]
    assert roughness[2] < roughness[1] < 0.97 * roughness[0]
    within = [float(stack.adjacent_differences(v, axis=1).mean()) for v in (alone, both)]
    assert within[1] == pytest.approx(within[0], rel=0.1)  # not blurred in the plane
    assert stack.overlap(exact_models.gaussian, 0.0) is exact_models.gaussian
    level = end(PATH, 3)
    traced = stack.overlap(exact_models.gaussian, jnp.float32(0.0))(alone, level, condition)
    np.testing.assert_allclose(traced.x0, exact_models.gaussian(alone, level, condition).x0, atol=1e-6)
