"""The gate: corrupted pictures are stopped, real ones pass at the stated rate, limits are one-sided."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.gate import flaws, gate, gate_power
from brain_diffusion_jax.evaluation.gate.gate import Gate
from brain_diffusion_jax.evaluation.labelled import Labelled
from brain_diffusion_jax.evaluation.metrics import bootstrap, class_measures, texture
from brain_diffusion_jax.evaluation.probes import shapes
from brain_diffusion_jax.evaluation.probes.pixel_probe import block_means, ridge_probe

SIZE, CLASSES, RATE = 32, 3, 0.05


def make(count: int, seed: int) -> Labelled:
    """Discs with individual texture; the class is where a bright spot lies."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    labels = rng.integers(0, CLASSES, count)
    images = []
    for label in labels:
        disc = (x - rng.normal(0, 0.02)) ** 2 + (y - rng.normal(0, 0.02)) ** 2 < (0.4 + rng.normal(0, 0.015)) ** 2
        angle = 2 * np.pi * label / CLASSES + rng.normal(0, 0.15)
        spot = np.exp(-((x - 0.22 * np.cos(angle)) ** 2 + (y - 0.22 * np.sin(angle)) ** 2) / 0.006)
        grain = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 0.9)
        image = disc * (0.4 + 0.09 * grain / grain.std() + 0.35 * spot) + 0.01 * rng.standard_normal((SIZE, SIZE))
        images.append(np.clip(image, 0, 1))
    return Labelled(np.asarray(images, np.float32)[..., None], labels)


@pytest.fixture(scope="module")
def known():
    """A classifier learned from the training images alone, and these."""
    train = make(300, 0)
    probe = ridge_probe(block_means(train.images), np.eye(CLASSES)[train.labels])

    def probabilities(images):
        logits = 14.0 * probe(block_means(images))
        p = np.exp(logits - logits.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    return SimpleNamespace(features=block_means, probabilities=probabilities, words=("a", "b", "c")), train


@pytest.fixture(scope="module")
def learned(known):
    return Gate(*known, make(400, 1), false_alarm_rate=RATE, batch_size=100, draws=40)


def blur(p):
    return Labelled(ndimage.gaussian_filter(p.images, (0, 1.5, 1.5, 0)), p.labels)


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


def test_score_runs_from_one_to_the_number_of_classes():
    confident = np.eye(4)[np.arange(40) % 4]
    assert class_measures.inception_style_score(confident) == pytest.approx(4.0)
    assert class_measures.inception_style_score(np.full((40, 4), 0.25)) == pytest.approx(1.0)
    assert class_measures.inception_style_score(confident[:1].repeat(40, 0)) == pytest.approx(1.0)


def test_measures_use_equal_numbers_and_know_the_classes():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((90, 4))
    asked = np.arange(90) % 3
    real, labels = rng.standard_normal((40, 4)), np.r_[np.zeros(20), np.ones(10), np.full(10, 2)].astype(int)
    row = class_measures.measure(features, np.eye(3)[asked], asked, real, labels, ("a", "b", "c"))
    assert row["pictures"] == 40
    assert row["fidelity"] == 1.0
    assert [row["by_class"][w]["pictures"] for w in "abc"] == [20, 10, 10]
    far = class_measures.measure(features + 3, np.eye(3)[asked], (asked + 1) % 3, real, labels, ("a", "b", "c"))
    assert far["frechet"] > row["frechet"] + 20
    assert far["fidelity"] == 0.0
    assert np.trace(far["confusion"]) == 0
    assert "| set |" in class_measures.table({"x": row, "y": far})


def test_detectors_tell_slight_flaws_in_pictures_of_differing_sharpness():
    rng = np.random.default_rng(0)

    def real(count):
        images = make(count, int(rng.integers(1000))).images.astype(float)
        soft = np.stack(
            [ndimage.gaussian_filter(x, (s, s, 0)) for x, s in zip(images, rng.uniform(0, 0.5, count), strict=True)]
        )
        return np.clip(soft + rng.uniform(0, 0.01, (count, 1, 1, 1)) * rng.standard_normal(soft.shape), 0, 1)

    known, held, fresh = real(300), real(200), real(200)
    found = flaws.Detectors(known, texture.texture(known))
    limits = {name: np.quantile(scores, 0.98) for name, scores in found(texture.texture(held)).items()}
    assert set(limits) == set(flaws.FLAWS) == {"blur", "noise"}
    for name, strength in (("blur", 0.8), ("noise", 0.03)):
        flawed = flaws.FLAWS[name].apply(fresh, np.full(200, strength), rng)
        scores = found(texture.texture(flawed))
        assert (scores[name] > limits[name]).mean() > 0.95
        other = {"blur": "noise", "noise": "blur"}[name]
        assert (scores[other] > limits[other]).mean() < 0.05
    odd = found.oddness(texture.texture(np.where(rng.random(fresh.shape) < 0.02, 1.0, fresh)))  # a flaw nobody taught
    assert np.median(odd) > np.quantile(found.oddness(texture.texture(held)), 0.98)


def test_texture_is_of_the_picture_as_stored_with_8_bits():
    images = make(6, 1).images
    rows = texture.texture(images)
    assert rows.shape[0] == 6
    np.testing.assert_array_equal(rows, texture.texture(np.rint(255 * images) / 255))


def test_shapes_tell_classes_and_stacking_weighs_sources_by_what_they_know():
    train, held = blur(make(200, 0)), blur(make(100, 1))  # without the grain, whose gradients hide the class
    seen = shapes.Shapes(train.images, train.labels, CLASSES + 1)(held.images)
    assert seen.shape == (100, CLASSES + 1, 2)
    for source in (0, 1):
        assert (seen[:, :CLASSES, source].argmax(1) == held.labels).mean() > 0.55  # a third by chance
    assert np.isfinite(seen).all()  # also for the class nobody showed
    nonsense = np.random.default_rng(0).standard_normal((100, CLASSES + 1, 1))
    weights = shapes.stack(np.concatenate([seen, nonsense], 2), held.labels)
    assert weights.min() >= 0
    assert weights[:2].max() > 10 * weights[2]


def test_power_says_what_the_gate_rejects_of_these_images(learned, known):
    limits = dict(learned.limits)
    kinds = gate_power.power(learned, known[1], make(400, 31), partitions=3, most=60)
    assert kinds[gate_power.REAL]["rejected"] <= RATE + 0.04  # limits by 200 pictures vary by 2 %
    assert kinds[gate_power.REAL]["pictures"] == 200
    for name in (gate_power.WRONG, gate_power.COPIES, "blur, sigma 1.5 pixels", "noise, sigma 0.1"):
        assert kinds[name]["rejected"] >= 0.95, name
        low, high = kinds[name]["interval"]
        assert low <= kinds[name]["rejected"] <= high <= 1
    assert kinds[gate_power.WRONG]["reason"] == "class"
    assert kinds[gate_power.COPIES]["reason"] == "copy"
    assert "| wrong class |" in gate_power.table(kinds, RATE)
    assert learned.limits == limits  # its own stay


def test_wilson_interval_of_known_fractions():
    # Newcombe 1998, table I: 81 of 263, and none of 20.
    for (hits, count), ends in (((81, 263), (0.2553, 0.3662)), ((0, 20), (0.0, 0.1611))):
        estimate = bootstrap.proportion(hits, count)
        assert estimate.value == hits / count
        np.testing.assert_allclose((estimate.low, estimate.high), ends, atol=2e-4)
