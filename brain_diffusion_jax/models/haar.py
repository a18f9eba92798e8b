"""Patches as Haar wavelets: what a network sees of a block of pixels is its mean and its differences.

The transform is orthonormal: white noise stays white and squared errors stay what they are, so that diffusion in the
wavelet domain (Friedrich et al. 2024) is diffusion of pixels whose network takes and gives wavelets.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from brain_diffusion_jax.models.layers import Features, depth_to_space, space_to_depth


@functools.cache
def haar_matrix(patch: int) -> Float[np.ndarray, "p p"]:
    """The orthonormal Haar transform of `patch` numbers, a power of two; rows from the mean to the finest differences.

    H_2n = [H_n x (1, 1); I_n x (1, -1)] / sqrt(2), where x is Kronecker's product and H_1 = 1.
    """
    if patch < 1 or patch & (patch - 1):
        raise ValueError(f"patch={patch}; expected a power of two")
    if patch == 1:
        return np.ones((1, 1))
    half = patch // 2
    coarse = np.kron(haar_matrix(half), [[1.0, 1.0]])
    return np.concatenate([coarse, np.kron(np.eye(half), [[1.0, -1.0]])]) / np.sqrt(2)


def _mixed(x: Features, patch: int, dims: int, *, back: bool) -> Features:
    """The pixels of every patch in float32, transformed along each of their axes."""
    matrix = functools.reduce(np.kron, [haar_matrix(patch)] * dims)
    mix: Array = jnp.asarray(matrix.T if back else matrix, jnp.float32)
    pixels = x.astype(jnp.float32).reshape(*x.shape[:-1], patch**dims, -1)
    return jnp.einsum("ab,...bc->...ac", mix, pixels, precision="highest").reshape(x.shape)


def into_patches(x: Features, patch: int, form: str = "pixels") -> Features:
    """[b, *n, c] -> [b, *(n / patch), patch^d c]: the pixels of a patch as channels, or their wavelets in float32.

    form: one of `unet_config.PATCHES`. Of wavelets the first c channels are patch^(d / 2) times the means.
    """
    deep = space_to_depth(x, patch)
    return deep if form == "pixels" else _mixed(deep, patch, x.ndim - 2, back=False)


def out_of_patches(x: Features, patch: int, form: str = "pixels") -> Features:
    """The inverse of `into_patches`."""
    return depth_to_space(x if form == "pixels" else _mixed(x, patch, x.ndim - 2, back=True), patch)
