"""What an autoencoder must beat on people it never saw: rebuilding them without a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.evaluation.metrics.components import Components, mean_image, principal_components
from brain_diffusion_jax.evaluation.metrics.measures import Numbers
from brain_diffusion_jax.evaluation.metrics.paired_images import Images
from brain_diffusion_jax.evaluation.metrics.reconstruction import reconstruction_numbers
from brain_diffusion_jax.pixels import to_unit


def low_pass_box(spatial: Sequence[int], numbers: int) -> tuple[int, ...]:
    """How many cosines along each axis make about `numbers` of them, in the proportions of the image; at least 1."""
    share = min(numbers / float(np.prod(spatial)), 1.0) ** (1 / len(spatial))
    return tuple(max(1, round(size * share)) for size in spatial)


def low_pass(images: Images, numbers: int) -> Float[np.ndarray, "n *spatial c"]:
    """Images [n, *spatial, c] from about `numbers` of their lowest cosines (`low_pass_box`, shared among channels).

    float32 in [0, 1]. Raises InputError for fewer numbers than channels.
    """
    from scipy import fft

    channels = images.shape[-1]
    if numbers < channels:
        raise InputError("low pass", "numbers", numbers, f"at least {channels}, one for each channel")
    box = tuple(slice(0, size) for size in low_pass_box(images.shape[1:-1], numbers // channels))
    axes = range(images.ndim - 2)
    rebuilt = np.empty(images.shape, np.float32)
    for index, image in enumerate(images):
        cosines = fft.dctn(to_unit(image), axes=axes, norm="ortho")
        kept = np.zeros_like(cosines)
        kept[box] = cosines[box]
        rebuilt[index] = np.clip(fft.idctn(kept, axes=axes, norm="ortho"), 0, 1)
    return rebuilt


def from_components(images: Images, components: Components) -> Float[np.ndarray, "n *spatial c"]:
    """Images rebuilt from their scores along principal components of training images, float32 in [0, 1]."""
    return np.clip(components.restore(components.scores(images)), 0, 1)


def floors(
    train: Images,
    held_out: Images,
    people: Sequence[str],
    numbers: int,
    *,
    components: int = 170,
    replicates: int = 200,
    seed: int = 0,
) -> dict[str, Numbers]:
    """Rows of a table beside an autoencoder with `numbers` latent numbers: name -> `reconstruction_numbers`.

    A low-pass of as many cosines, as many principal components of the training images as asked for (fewer images
    give fewer), and the mean training image. Image i of held_out belongs to people[i].
    """
    found = principal_components(train, components)
    count = int(np.prod(low_pass_box(held_out.shape[1:-1], numbers // held_out.shape[-1]))) * held_out.shape[-1]
    mean = np.broadcast_to(mean_image(train), held_out.shape)
    rows = {
        f"DCT low-pass of {count}": lambda: low_pass(held_out, numbers),
        f"PCA-{len(found.basis)}": lambda: from_components(held_out, found),
        "training mean": lambda: mean,
    }
    return {
        name: reconstruction_numbers(held_out, make(), people, replicates=replicates, seed=seed)
        for name, make in rows.items()
    }
