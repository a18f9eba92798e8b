"""The patch discriminator: its patches, its norms, and MONAI's with the same weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.patch_discriminator import DiscriminatorConfig, PatchDiscriminator
from tests.models.random_weights import cheaply, randomised


@pytest.mark.parametrize(("width", "millions"), [(32, 2.77), (64, 11.05), (96, 24.83)])
def test_sizes_of_known_volume_networks(width, millions):
    module = PatchDiscriminator(DiscriminatorConfig(channels=width))
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 24, 24, 24, 1)))
    assert sum(a.size for a in jax.tree.leaves(shapes)) == pytest.approx(millions * 1e6, abs=6e3)


@pytest.mark.parametrize("shape", [(2, 24, 33, 1), (1, 24, 24, 26, 2)])
def test_a_score_sees_its_patch_alone(shape):
    """Without norms, a pixel moves only scores whose receptive field (70 pixels at 3 layers, 16 at 1) holds it."""
    module = PatchDiscriminator(DiscriminatorConfig(channels=2, num_layers=1, norm="none", norm_num_groups=1))
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    params = randomised(module, x)
    features, scores = cheaply(module.apply, params, x)
    assert [f.shape[-1] for f in features] == [2, 4]
    assert scores.dtype == jnp.float32
    moved = np.abs(cheaply(module.apply, params, x.at[:, 0].add(1.0))[1] - scores).max(axis=tuple(range(2, x.ndim)))
    assert (moved[:, :2] > 0).all()
    assert (moved[:, 8:] == 0).all()


def test_what_does_not_fit_is_refused():
    module = PatchDiscriminator(DiscriminatorConfig(channels=4))
    with pytest.raises(ValueError, match="24 pixels or more"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 24, 23, 1)))
    with pytest.raises(InputError, match=r"discriminator\.norm_num_groups"):
        DiscriminatorConfig(channels=6)
    with pytest.raises(InputError, match=r"discriminator\.norm:"):
        DiscriminatorConfig(norm="batch")


@pytest.mark.parity
@pytest.mark.parametrize("dims", [2, 3])
def test_it_is_monais_with_group_norms(dims):
    torch = pytest.importorskip("torch")
    from monai.networks.nets import PatchDiscriminator as Theirs

    theirs = Theirs(dims, 4, 1, num_layers_d=3, norm=("GROUP", {"num_groups": 4}))
    x = np.random.default_rng(0).standard_normal((1, 1, *(24, 26, 25)[:dims])).astype(np.float32)
    module = PatchDiscriminator(DiscriminatorConfig(channels=4, norm_num_groups=4))
    params = {}
    names = {"initial_conv.conv": "conv_in", "final_conv.conv": "conv_out"}
    names |= {f"{i}.conv": f"conv_{i}" for i in range(3)} | {f"{i}.adn.N": f"norm_{i}" for i in range(3)}
    for name, tensor in theirs.state_dict().items():
        layer, _, leaf = name.rpartition(".")
        array = tensor.numpy()
        if array.ndim > 2:
            array, leaf = np.moveaxis(array, (1, 0), (-2, -1)), "kernel"
        params.setdefault(names[layer], {})[leaf if leaf != "weight" else "scale"] = array
    with torch.no_grad():
        wanted = [np.moveaxis(f.numpy(), 1, -1) for f in theirs(torch.from_numpy(x))]
    features, scores = cheaply(module.apply, {"params": params}, np.moveaxis(x, 1, -1))
    for got, want in zip([*features, scores], wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())
