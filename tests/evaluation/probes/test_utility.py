"""Training on good synthetic pictures works on real ones, on unrelated ones it does not."""

from __future__ import annotations

import flax.linen as nn
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.probes.utility import network_trainer, pixel_trainer, utility


def pictures(count, seed, name, informative=True):
    """A bright square whose size is the age, or has nothing to do with it."""
    generator = np.random.default_rng(seed)
    ages = generator.uniform(20, 80, count)
    shown = ages if informative else generator.permutation(ages)
    y, x = np.mgrid[:16, :16]
    near = np.maximum(abs(y - 7.5), abs(x - 7.5))
    images = np.clip(shown[:, None, None] / 12 - near, 0, 1) * 0.8 + generator.random((count, 16, 16)) * 0.05
    return ImageSet(images.astype(np.float32), [{"age": a} for a in ages], [f"{name}{i}" for i in range(count)])


class Brightness(nn.Module):
    mean: float
    spread: float

    @nn.compact
    def __call__(self, x, *, train=False):
        return self.mean + self.spread * nn.Dense(1, name="out")(10 * x.mean((1, 2)) - 4)[:, 0]


@pytest.mark.parametrize("trainer", [pixel_trainer, network_trainer(Brightness, num_steps=300, learning_rate=5e-2)])
def test_informative_pictures_teach_and_others_do_not(trainer):
    sets = {"good": pictures(40, 2, "g"), "bad": pictures(40, 3, "b", informative=False)}
    found = utility(trainer, pictures(60, 1, "t"), sets, pictures(30, 4, "p"), "age", seeds=(0, 1))
    by_name = {item["name"]: item for item in found}
    assert list(by_name)[:2] == ["real", "real, as many"]
    assert by_name["real, as many"]["num_train"] == 40
    assert by_name["real + synthetic good"]["num_train"] == 100
    assert by_name["real"]["mae"]["value"] < 9
    assert by_name["synthetic good"]["mae"]["value"] < 9
    assert by_name["synthetic bad"]["mae"]["value"] > 12
    assert by_name["real"]["mae"]["low"] <= by_name["real"]["mae"]["value"] <= by_name["real"]["mae"]["high"]


def test_people_on_both_sides_and_empty_sets_are_refused():
    train = pictures(10, 1, "t")
    with pytest.raises(InputError, match="the same people"):
        utility(pixel_trainer, train, {"a": train}, train[np.arange(3)], "age")
    with pytest.raises(InputError, match="at least one of each"):
        utility(pixel_trainer, train, {}, pictures(5, 2, "p"), "age")
