"""Random changes of images that change neither age nor class, drawn inside the jitted step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from brain_diffusion_jax.array_types import Key
from brain_diffusion_jax.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Standard deviations of what is drawn for each image; 0 is off.

    rotation: degrees. shift: fraction of the shorter side. scale: of the logarithm, each axis its own.
    gain, gamma: of the logarithm, of the brightness and of the exponent. noise: of unit intensity.
    mirror: probability of a left-right flip. shear: of the slope of upright lines.
    """

    rotation: float = 4.0
    shift: float = 0.02
    scale: float = 0.04
    gain: float = 0.08
    gamma: float = 0.08
    noise: float = 0.01
    mirror: float = 0.5
    shear: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0 or (name == "mirror" and value > 1):
                raise InputError("config", f"augmentation.{name}", value, "0 or more (mirror: at most 1)")

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return any(vars(self).values())

    @property
    def moves(self) -> bool:
        """Whether pixels change their position."""
        return bool(self.rotation or self.shift or self.scale or self.mirror or self.shear)


def augment(image: Float[Array, "*spatial c"], key: Key, how: Augmentation) -> Float[Array, "*spatial c"]:
    """One image in [0, 1], moved and re-toned at random; 0 outside the image, still in [0, 1].

    A volume [x, y, z, c] turns about each of its axes, is mirrored along x, and shears x along y.
    """
    keys = jax.random.split(key, 7)
    shear_key = jax.random.fold_in(key, 7)  # apart from the others, whose draws stay as they were
    if how.moves:
        move = _move if image.ndim == 3 else _move_volume
        image = move(image, [*keys[:4], shear_key], how)
    image = image * jnp.exp(how.gain * jax.random.normal(keys[4]))
    image = jnp.maximum(image, 1e-6) ** jnp.exp(how.gamma * jax.random.normal(keys[5]))
    if how.noise:
        image = image + how.noise * jax.random.normal(keys[6], image.shape)
    return jnp.clip(image, 0.0, 1.0)


def _move(image: Float[Array, "rows cols c"], keys: Sequence[Key], how: Augmentation) -> Float[Array, "rows cols c"]:
    rows, cols = image.shape[:2]
    angle = jnp.deg2rad(how.rotation) * jax.random.normal(keys[0])
    zoom = jnp.exp(how.scale * jax.random.normal(keys[1], (2,)))
    shift = how.shift * min(rows, cols) * jax.random.normal(keys[2], (2,))
    slope = how.shear * jax.random.normal(keys[4])
    flip = jnp.where(jax.random.bernoulli(keys[3], how.mirror), -1.0, 1.0)
    centre = (rows - 1) / 2, (cols - 1) / 2
    y, x = jnp.mgrid[:rows, :cols]
    y, x = y - centre[0], (x - centre[1]) * flip
    x = x + slope * y
    source_y = (jnp.cos(angle) * y - jnp.sin(angle) * x) * zoom[0] + centre[0] + shift[0]
    source_x = (jnp.sin(angle) * y + jnp.cos(angle) * x) * zoom[1] + centre[1] + shift[1]
    return _read(image, [source_y, source_x])


def _read(image: Float[Array, "*spatial c"], places: Sequence[Array]) -> Float[Array, "*spatial c"]:
    planes = [map_coordinates(image[..., c], list(places), order=1) for c in range(image.shape[-1])]
    return jnp.stack(planes, axis=-1)


def _move_volume(image: Float[Array, "x y z c"], keys: Sequence[Key], how: Augmentation) -> Float[Array, "x y z c"]:
    sizes = image.shape[:3]
    angles = jnp.deg2rad(how.rotation) * jax.random.normal(keys[0], (3,))
    zoom = jnp.exp(how.scale * jax.random.normal(keys[1], (3,)))
    shift = how.shift * min(sizes) * jax.random.normal(keys[2], (3,))
    matrix = jnp.eye(3).at[0, 0].set(jnp.where(jax.random.bernoulli(keys[3], how.mirror), -1.0, 1.0))
    matrix = matrix.at[0, 1].set(how.shear * jax.random.normal(keys[4]))
    for (a, b), angle in zip(((0, 1), (0, 2), (1, 2)), angles):
        turn = jnp.eye(3).at[a, a].set(jnp.cos(angle)).at[b, b].set(jnp.cos(angle))
        matrix = turn.at[a, b].set(-jnp.sin(angle)).at[b, a].set(jnp.sin(angle)) @ matrix
    centre = (jnp.asarray(sizes) - 1) / 2
    grid = jnp.stack(jnp.meshgrid(*map(jnp.arange, sizes), indexing="ij"), axis=-1) - centre
    places = (grid @ matrix.T) * zoom + centre + shift
    return _read(image, [places[..., axis] for axis in range(3)])
