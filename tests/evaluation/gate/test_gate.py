"""The gate: corrupted pictures are stopped, real ones pass at the stated rate, limits are one-sided."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage
from spots import CLASSES, RATE, blur, make

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.gate import gate
from brain_diffusion_jax.evaluation.gate.gate import Gate
from brain_diffusion_jax.evaluation.labelled import Labelled
from brain_diffusion_jax.evaluation.metrics import class_measures


def noise(p):
    grain = 0.12 * np.random.default_rng(3).standard_normal(p.images.shape)
    return Labelled(np.clip(p.images + grain, 0, 1).astype(np.float32), p.labels)


def wrong_class(p):
    return Labelled(p.images, (p.labels + 1) % CLASSES)


CORRUPTIONS = {"blur": blur, "noise": noise, "wrong class": wrong_class}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupted_pictures_are_rejected(learned, name):
    verdicts = learned.verdicts(CORRUPTIONS[name](make(200, 7)))
    assert (~verdicts.accepted).mean() >= 0.95
    expected = {"blur": "blur", "noise": "noise", "wrong class": "class"}[name]
    assert np.mean([expected in reasons for reasons in verdicts.reasons]) > 0.9


def test_copies_of_training_images_are_rejected_even_if_shifted_or_dimmed(learned, known):
    train = known[1]
    some = Labelled(train.images[:150], train.labels[:150])
    assert (~learned.verdicts(some).accepted).mean() == 1.0
    shifted = Labelled(np.roll(some.images, 1, axis=2) * np.float32(0.98), some.labels)
    verdicts = learned.verdicts(shifted)
    assert (~verdicts.accepted).mean() >= 0.95
    assert np.mean(["copy" in reasons for reasons in verdicts.reasons]) >= 0.95


def test_new_real_pictures_pass_at_the_stated_rate(learned):
    rejected = ~learned.verdicts(make(400, 11)).accepted
    assert rejected.mean() <= RATE + 0.02


def test_limits_are_one_sided(learned):
    fresh = make(100, 5)
    verdicts = learned.verdicts(fresh)
    # The best scores of all kinds are never a reason: nothing is rejected for being too good.
    for name, limit in learned.limits.items():
        best = verdicts.scores[name].argmin()
        assert verdicts.scores[name][best] < limit
        assert name not in verdicts.reasons[best]
    assert len(verdicts.reasons) == 100
    np.testing.assert_array_equal(verdicts.accepted, [not r for r in verdicts.reasons])
    np.testing.assert_array_equal(verdicts.accepted, verdicts.margin <= 0)


def test_batches_are_judged_by_distance_and_score(learned):
    assert not learned.batch_verdict(blur(make(200, 22))).accepted
    one = make(600, 23)
    collapsed = Labelled(one.images[one.labels == 0], one.labels[one.labels == 0])
    found = learned.batch_verdict(collapsed)  # good pictures of a single class: the score tells
    assert found.score < found.score_limit
    assert not found.accepted
    alarms = np.mean([not learned.batch_verdict(make(100, 100 + i), seed=i).accepted for i in range(6)])
    assert alarms <= 0.17


def test_joint_limits_keep_the_rate_over_all_scores_together():
    rng = np.random.default_rng(0)
    scores = {name: rng.standard_normal(1000) for name in "abcde"}
    tail, limits = gate.joint_limits(scores, 0.05)
    beyond = np.any([scores[n] > limits[n] for n in scores], axis=0)
    assert 0.035 < beyond.mean() <= 0.05
    assert 0.005 < tail < 0.015  # five independent scores share the rate
    same = dict.fromkeys("abcde", scores["a"])
    assert gate.joint_limits(same, 0.05)[0] > 0.04  # one and the same score need not


def test_bad_input_is_refused(known):
    classifier, train = known
    held = make(300, 2)
    with pytest.raises(InputError, match="held-out images"):
        Gate(classifier, train, make(20, 2), false_alarm_rate=RATE)
    with pytest.raises(InputError, match="false_alarm_rate"):
        Gate(classifier, train, held, false_alarm_rate=1.0)
    broken = Labelled(held.images.copy(), held.labels)
    broken.images[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="finite"):
        Gate(classifier, train, broken, false_alarm_rate=RATE)
    few = Labelled(train.images[:60], train.labels[:60])
    trained = Gate(classifier, few, held, false_alarm_rate=RATE, draws=5)
    with pytest.raises(InputError, match="no real image of class"):
        trained.verdicts(Labelled(held.images[:3], np.array([0, 9, 1])))
    with pytest.raises(InputError, match="at least"):
        trained.batch_verdict(Labelled(held.images[:3], held.labels[:3]))
    with pytest.raises(InputError, match="sum 1"):
        class_measures.check_probabilities(np.ones((3, 3)))


def test_a_gate_of_colours_rejects_what_is_corrupted_in_one_of_them(known):
    def tinted(count, seed):
        grey = make(count, seed)
        shades = np.random.default_rng(seed).uniform(0.7, 1, (count, 1, 1, 2)).astype(np.float32)
        return Labelled(np.concatenate([grey.images, grey.images * shades], -1), grey.labels)

    first = SimpleNamespace(
        features=lambda images: known[0].features(images[..., :1]),
        probabilities=lambda images: known[0].probabilities(images[..., :1]),
        words=known[0].words,
    )
    gate_of_colours = Gate(first, tinted(150, 0), tinted(250, 1), false_alarm_rate=RATE, draws=2)
    fresh = tinted(60, 7)
    assert (~gate_of_colours.verdicts(fresh).accepted).mean() <= 0.15
    blurred = fresh.images.copy()
    blurred[..., 2] = ndimage.gaussian_filter(blurred[..., 2], (0, 1.5, 1.5))
    assert (~gate_of_colours.verdicts(Labelled(blurred, fresh.labels)).accepted).mean() >= 0.9
    with pytest.raises(InputError, match="rows, cols, channels"):
        gate_of_colours.verdicts(Labelled(fresh.images[..., None], fresh.labels))
