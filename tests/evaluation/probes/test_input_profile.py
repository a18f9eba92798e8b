"""A profile lets pass what is like the scans it was made of, and says in words what is not."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from scipy import ndimage

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.probes import input_profile, slice_numbers
from brain_diffusion_jax.evaluation.probes.input_profile import KnownScan, make_profile

INDICES = list(range(10, 18))


def scan(seed: int) -> np.ndarray:
    """uint8 [8, 24, 20, 1]: an ellipsoid with smooth texture, another for each seed."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (8, 24, 20)), indexing="ij")
    size = 1 + 0.05 * rng.standard_normal()
    inside = (x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 2.5) ** 2 < size
    texture = ndimage.gaussian_filter(rng.standard_normal(x.shape), (1, 1, 1))
    noise = 0.03 * rng.standard_normal(x.shape)
    grey = 0.5 + 0.1 * np.cos(6 * x) + 0.02 * rng.standard_normal() + 0.15 * texture + noise
    return np.rint(255 * np.where(inside, np.clip(grey, 0.05, 1), 0)).astype(np.uint8)[..., None]


def features(images: np.ndarray) -> np.ndarray:
    """A fixed random projection of block means stands for a network."""
    blocks = images[:, :24, :20, 0].reshape(len(images), 6, 4, 5, 4).mean((2, 4)).reshape(len(images), -1) / 255
    return np.maximum(blocks @ np.random.default_rng(9).normal(size=(30, 40)), 0)


def known(seeds, held_out=False):
    for seed in seeds:
        images = scan(seed)
        yield KnownScan(f"person {seed}", images, INDICES, features(images), held_out)


@pytest.fixture(scope="module")
def profile():
    return make_profile([*known(range(80)), *known(range(80, 100), held_out=True)])


def aspects(profile, images, indices=INDICES) -> list[str]:
    return [d.aspect for d in profile.depart(images, indices, features(images))]


def test_few_like_scans_are_refused(profile):
    """2 % aimed at; of 100 new ones 7 would be one chance in a hundred."""
    assert sum(bool(aspects(profile, scan(seed))) for seed in range(1000, 1100)) < 7


SPOILED = {
    "intensities": [lambda s: s / 2, lambda s: 255 * np.sqrt(s / 255), lambda s: 128 * (s > 0), np.zeros_like],
    "spectrum": [lambda s: ndimage.gaussian_filter(s.astype(float), (0, 1, 1, 0))],
    "slices": [lambda s: np.repeat(s[::2], 2, axis=0), lambda s: s * (np.arange(8) % 2)[:, None, None, None]],
    "place": [lambda s: np.roll(s, 4, axis=1), lambda s: ndimage.rotate(s, 30, axes=(1, 2), reshape=False, order=1)],
}


@pytest.mark.parametrize("aspect", SPOILED)
def test_what_is_spoiled_is_named(aspect, profile):
    for spoil in SPOILED[aspect]:
        for seed in (2000, 2001, 2002):
            images = np.clip(spoil(scan(seed)), 0, 255).astype(np.uint8)
            assert aspect in aspects(profile, images)
    said = str(profile.depart(images, INDICES, features(images))[0])
    assert "it was trained on" in said
    assert "in the mean of slices" in said


def test_features_alone_can_tell(profile):
    images = scan(3000)
    (departure,) = profile.depart(images, INDICES, 3 * features(images) + 1)
    assert departure.aspect == "features"
    assert departure.score > 1


def test_any_slices_in_any_order_will_do(profile):
    images = scan(3001)
    for rows in ([0, 3, 6], [5], [2, 3], [7, 1, 4]):
        there = [INDICES[r] for r in rows]
        assert aspects(profile, images[rows], there) == []
        assert "intensities" in aspects(profile, images[rows] // 2, there)
    extra = np.concatenate([images, images[:1]])
    assert aspects(profile, extra, [*INDICES, 99]) == []  # a slice it does not know is left out
    with pytest.raises(InputError, match="slices 10 to 17"):
        aspects(profile, images[:1], [99])


def test_it_is_kept_with_the_run(profile, tmp_path):
    assert input_profile.load_profile(tmp_path) is None
    profile.save(tmp_path)
    again = input_profile.load_profile(tmp_path)
    images = scan(3002) // 2
    assert again.depart(images, INDICES, features(images)) == profile.depart(images, INDICES, features(images))
    path = tmp_path / input_profile.FILE_NAME
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="input profile"):
        input_profile.load_profile(tmp_path)


def test_too_few_scans_make_none():
    assert make_profile(known(range(input_profile.FEWEST - 1))) is None
    assert make_profile([*known(range(5)), *known(range(5, 60), held_out=True)]) is None


def test_numbers_of_black_and_of_colour_slices_are_finite():
    black = np.zeros((2, 24, 20, 1), np.uint8)
    assert np.isfinite(slice_numbers.measure(black)[0]).all()
    grey = scan(1)
    colour = np.repeat(grey, 3, axis=-1)
    np.testing.assert_allclose(slice_numbers.measure(colour), slice_numbers.measure(grey), atol=2e-5)


REAL = {
    "0 to 1 instead of 0 to 2.55": lambda s: s / 2.55,
    "blur, sigma 2 mm": lambda s: ndimage.gaussian_filter(s, (0, 1, 1)),
    "blur, sigma 6 mm": lambda s: ndimage.gaussian_filter(s, (0, 3, 3)),
    "every second slice black": lambda s: s * (np.arange(len(s)) % 2)[:, None, None],
    "brain mask": lambda s: np.where(s > 10, 100.0, 0.0),
    "gamma 0.5": lambda s: 255 * (s / 255) ** 0.5 / 1.6,
    "upside down": lambda s: s[:, ::-1],
    "inverted": lambda s: np.where(s > 0, np.clip(150 - s, 2, None), 0),
    "shuffled": lambda s: np.random.default_rng(0).permuted(s.reshape(len(s), -1), axis=1).reshape(s.shape),
}


@pytest.mark.realdata
def test_the_corruptions_of_real_slices_are_refused_and_other_people_are_not(real_data):
    """Five slices a scan and no network; `scripts/measure_input_checks.py ages` has volumes and a trained one."""
    root = real_data("oasis1_mni2mm")
    with np.load(root / "axial_slices_u8.npz", allow_pickle=False) as items:
        images, names, qc, cdr = (items[k] for k in ("images", "session_id", "qc", "cdr"))
    with (root / "participants.csv").open(encoding="utf-8") as file:
        subject = {row["session_id"]: row["subject_id"] for row in csv.DictReader(file)}
    rows = np.flatnonzero((qc == "ok") & ~(cdr > 0))
    people = np.array([subject[str(names[i])] for i in rows])
    order = np.random.default_rng(0).permutation(np.unique(people))
    mine, others = rows[np.isin(people, order[:140])], rows[np.isin(people, order[170:])]

    def seen(slices):
        blocks = slices[:, :104, :88].reshape(len(slices), 13, 8, 11, 8).mean((2, 4)).reshape(len(slices), -1)
        return np.maximum(blocks @ np.random.default_rng(9).normal(size=(143, 64)) / 100, 0)

    profile = make_profile(KnownScan(subject[str(names[i])], images[i], range(5), seen(images[i]), False) for i in mine)
    refused = [bool(profile.depart(images[i], range(5), seen(images[i]))) for i in others]
    assert np.mean(refused) <= 0.05
    for name, spoil in REAL.items():
        for i in others[:4]:
            spoiled = np.clip(np.rint(spoil(images[i].astype(float))), 0, 255).astype(np.uint8)
            assert profile.depart(spoiled, range(5), seen(spoiled)), name
