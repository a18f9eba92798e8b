"""Made-up people for studies: a disc with a hole that grows with age, and a generator that draws it."""

from __future__ import annotations

import functools

import numpy as np

from brain_diffusion_jax.evaluation.image_set import ImageSet
from brain_diffusion_jax.evaluation.study.study_settings import StudySettings

SIZE = (20, 18)


def draw(age, generator):
    """A disc with a dark hole that grows with age: ground truth for every measure of age."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    radius = np.hypot(y - 9.5, x - 8.5 + generator.normal() * 0.3)
    hole = 1.2 + 3.8 * (age - 20) / 70
    picture = 0.7 * np.clip(8.5 - radius, 0, 1) * np.clip((radius - hole) / 1.5 + 0.1, 0.1, 1)
    return np.clip(picture + generator.normal(size=SIZE) * 0.01 * (radius < 8), 0, 1)


@functools.cache
def calibration():
    generator = np.random.default_rng(9)
    ages = np.linspace(20, 90, 40)
    return np.polyfit([draw(a, generator)[5:15, 4:14].mean() for a in ages], ages, 2)


def hole_age(images):
    """Ages from the mean brightness of the centre; the study's regressor."""
    return np.polyval(calibration(), images[:, 5:15, 4:14].mean((1, 2, 3)))


def people(count, seed):
    generator = np.random.default_rng(seed)
    ages = generator.uniform(20, 90, count).round()
    conditions = [{"age": float(a), "sex": "FM"[i % 2]} for i, a in enumerate(ages)]
    images = np.stack([draw(a, generator) for a in ages])
    return ImageSet(np.round(images * 255).astype(np.uint8), conditions, [f"p{seed}-{i}" for i in range(count)])


def sample(conditions, scale, seed):
    """Draws the age that was asked for at w=3, the mean age at w=1."""
    generator = np.random.default_rng(seed)
    strength = {1.0: 0.2, 3.0: 1.0}[scale]
    ages = [55 + strength * (c["age"] - 55) for c in conditions]
    return np.stack([draw(a, generator) for a in ages])[..., None].astype(np.float32)


SETTINGS = StudySettings(guidance_scales=(1.0, 3.0), bootstrap=20, batch_size=8, title="Discs", model="discs")
