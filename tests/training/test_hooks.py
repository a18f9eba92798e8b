"""What validation changes, and its batches."""

from __future__ import annotations

import json

import numpy as np

from brain_diffusion_jax.training import hooks


def test_the_rate_falls_on_a_plateau():
    validated = hooks.Validated()
    falls = [validated.add(loss, 2) for loss in (3.0, 2.0, 2.5, 2.1, 1.9, 2.0, 2.0, 2.0)]
    assert falls == [False, False, False, True, False, False, True, False]
    assert (validated.best, validated.since_best) == (1.9, 3)
    assert hooks.Validated.from_json(json.loads(json.dumps(validated.to_json()))) == validated


def test_validation_batches_hold_every_sample_once():
    parts = hooks.batches_of({"x": np.arange(11)}, 4)
    seen = np.concatenate([p["x"][p["weight"] > 0] for p in parts])
    np.testing.assert_array_equal(seen, np.arange(11))
    assert {len(p["x"]) for p in parts} == {4}
