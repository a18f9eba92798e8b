"""Our Autoencoder against the installed MONAI over the option space: outputs, gradients, both ways of conversion."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.conversion import monai_autoencoder as monai
from tests.conversion import monai_cases as cases
from tests.models.random_weights import cheaply

pytestmark = pytest.mark.parity
# Of the largest number of an output and of a parameter's gradient; float32 against float64. Gradients of biases are
# sums over pixels that nearly cancel: MONAI's own float32 is about 1e-4 off where ours is 3.5e-4 off.
PARITY, GRADIENT = 1e-4, 5e-4
SEEDS = range(20)


def draw(seed: int) -> tuple[dict[str, Any], tuple[int, ...], int]:
    """(MONAI's arguments, spatial size, batch). Every third is 3D; sizes are odd at some level.

    A level has two pixels or more along an axis: over fewer, a norm's gradient is nothing but rounding.
    """
    rng = np.random.default_rng(seed)
    dims, depth = 3 if seed % 3 == 1 else 2, 1 if seed % 4 == 0 else 2
    groups = int(rng.choice([1, 2, 4]))
    level = tuple(bool(v) for v in rng.integers(0, 2, depth)) if seed % 5 else (False,) * depth
    arguments = {
        "spatial_dims": dims,
        "in_channels": int(rng.choice([1, 2])),
        "out_channels": int(rng.choice([1, 3])),
        "channels": tuple(int(groups * rng.choice([1, 2])) for _ in range(depth)),
        "num_res_blocks": tuple(int(n) for n in rng.choice([1, 1, 2], depth)),
        "attention_levels": level,
        "latent_channels": int(rng.choice([1, 3, 4])),
        "norm_num_groups": groups,
        "norm_eps": float(rng.choice([1e-6, 1e-2])),
        "with_encoder_nonlocal_attn": bool(rng.integers(0, 2)),
        "with_decoder_nonlocal_attn": bool(rng.integers(0, 2)),
        "include_fc": bool(rng.integers(0, 3)),
        "use_combined_linear": not rng.integers(0, 3),
    }
    choices = [4, 5] if dims == 3 else [4, 5, 7]
    return arguments, tuple(int(n) for n in rng.choice(choices if depth > 1 else [3, *choices], dims)), 1 + seed % 2


def theirs(arguments: dict[str, Any], seed: int = 0) -> Any:
    """MONAI's network with random weights everywhere."""
    import torch
    from monai.networks.nets import AutoencoderKL

    torch.manual_seed(seed)
    return cases.randomise(AutoencoderKL(**arguments).eval())


def their_run(net: Any, x: np.ndarray, noise: np.ndarray, weights: np.ndarray) -> tuple[list[np.ndarray], dict]:
    """Reconstruction, mean, sigma; gradients of sum(weights y^2) + sum(mean + log sigma) by name; in the type of x."""
    import torch

    mean, sigma = net.encode(torch.from_numpy(x))
    y = net.decode(mean + sigma * torch.from_numpy(noise))
    ((torch.from_numpy(weights) * y**2).sum() + (mean + sigma.log()).sum()).backward()
    gradients = {n: np.zeros(p.shape, x.dtype) if p.grad is None else p.grad.numpy() for n, p in net.named_parameters()}
    return [a.detach().numpy() for a in (y, mean, sigma)], gradients


@pytest.mark.parametrize("seed", SEEDS)
def test_outputs_and_gradients_are_monais(seed: int) -> None:
    arguments, size, batch = draw(seed)
    net, rng = theirs(arguments, seed), np.random.default_rng(seed)
    # Odd sizes at a level that halves: MONAI's latent is smaller and decodes to a smaller image.
    halvings = len(arguments["channels"]) - 1
    latent = tuple(n >> halvings for n in size)
    x = rng.standard_normal((batch, arguments["in_channels"], *size)).astype(np.float32)
    noise = rng.standard_normal((batch, arguments["latent_channels"], *latent)).astype(np.float32)
    shape = (batch, arguments["out_channels"], *(n << halvings for n in latent))
    weights = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    state = cases.state_of(net)
    wanted, their_gradients = their_run(net.double(), *(a.astype(np.float64) for a in (x, noise, weights)))
    converted = monai.from_monai(state, norm_num_groups=arguments["norm_num_groups"], norm_eps=arguments["norm_eps"])
    network = converted.network
    last = [np.moveaxis(a, 1, -1) for a in (x, noise, weights)]

    def loss(params, x, noise, weights):
        mean, log_variance = network.apply({"params": params}, x, pad=False, method="encode")
        z = mean + jnp.exp(log_variance / 2) * noise
        y = network.apply({"params": params}, z, method="decode")
        return jnp.sum(weights * y**2) + jnp.sum(mean + log_variance / 2), (y, mean, jnp.exp(log_variance / 2))

    our_gradients, found = cheaply(jax.grad(loss, has_aux=True), converted.params, *last)
    assert wanted[0].std() > 1e-3
    for ours, them in zip(found, wanted, strict=True):
        assert np.abs(them).max() > 1e-3
        assert np.abs(np.moveaxis(np.asarray(ours), -1, 1) - them).max() <= PARITY * np.abs(them).max()
    by_name = monai.to_monai(our_gradients, network)
    assert by_name.keys() == their_gradients.keys()
    # Some gradients are zero but for rounding (the key's bias).
    floor = 1e-4 * max(np.abs(g).max() for g in their_gradients.values())
    wrong = {n: np.abs(by_name[n] - g).max() / max(np.abs(g).max(), floor) for n, g in their_gradients.items()}
    assert max(wrong.values()) <= GRADIENT, max(wrong, key=wrong.__getitem__)

    back = monai.to_monai(converted.params, network)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)
    assert monai.monai_arguments(network) == _defaults(arguments)


def _defaults(arguments: dict[str, Any]) -> dict[str, Any]:
    """A file without attention cannot tell how its attention would have been."""
    attends = any(arguments[k] for k in ("with_encoder_nonlocal_attn", "with_decoder_nonlocal_attn"))
    if attends or any(arguments["attention_levels"]):
        return arguments
    return {**arguments, "include_fc": True, "use_combined_linear": False}


def test_the_cases_cover_the_options() -> None:
    drawn = [draw(seed) for seed in SEEDS]
    for key in drawn[0][0]:
        assert len({str(arguments[key]) for arguments, _, _ in drawn}) > 1, key
    halved = [size for arguments, size, _ in drawn if len(arguments["channels"]) > 1]
    assert any(n % 2 for size in halved for n in size)


def test_a_padded_odd_size_is_monais_of_the_padded_image() -> None:
    import torch

    arguments = {**draw(1)[0], "channels": (4, 8), "norm_num_groups": 2, "attention_levels": (False, False)}
    arguments |= {"num_res_blocks": (1, 1), "in_channels": 1, "spatial_dims": 2}
    net = theirs(arguments)
    x = np.random.default_rng(0).standard_normal((1, 1, 5, 7)).astype(np.float32)
    with torch.no_grad():
        padded = torch.nn.functional.pad(torch.from_numpy(x), (0, 1, 0, 1), mode="replicate")
        want = net.reconstruct(padded)[:, :, :5, :7].numpy()
    network = (
        converted := monai.from_monai(cases.state_of(net), norm_num_groups=2, norm_eps=arguments["norm_eps"])
    ).network
    got = cheaply(lambda p, x: network.apply({"params": p}, x)[0], converted.params, np.moveaxis(x, 1, -1))
    assert np.abs(np.moveaxis(np.asarray(got), -1, 1) - want).max() <= PARITY * np.abs(want).max()


def test_old_names_are_what_monai_itself_reads_as_old() -> None:
    import torch

    arguments = {**draw(1)[0], "include_fc": True, "use_combined_linear": False, "with_encoder_nonlocal_attn": True}
    arguments |= {"channels": (4, 8), "norm_num_groups": 2, "attention_levels": (False, True), "num_res_blocks": (1, 1)}
    net, fresh = theirs(arguments), theirs(arguments, seed=1)
    converted = monai.from_monai(cases.state_of(net), norm_num_groups=2)
    old = monai.to_monai(converted.params, converted.network, names="old")
    assert any("proj_attn" in name for name in old)
    fresh.load_old_state_dict({name: torch.from_numpy(array) for name, array in old.items()})
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), net.parameters(), strict=True))
    jax.tree.map(np.testing.assert_array_equal, monai.from_monai(old, norm_num_groups=2).params, converted.params)


def _peak_gib() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@pytest.mark.slow
def test_the_published_pair_at_full_width() -> None:
    """Both networks of the published brain model, 13.8 M and 553 M parameters, on a small volume, below 6 GiB."""
    import gc

    import torch

    from brain_diffusion_jax.conversion import monai as monai_unet
    from brain_diffusion_jax.models import factory

    before = _peak_gib()
    arguments = dict(
        spatial_dims=3,
        channels=(64, 128, 128, 128),
        num_res_blocks=2,
        attention_levels=(False,) * 4,
        norm_num_groups=32,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )
    net = theirs(arguments)
    state = cases.state_of(net)
    assert sum(a.size for a in state.values()) == 13_766_248
    converted = monai.from_monai(state, norm_num_groups=32)
    x = np.random.default_rng(0).standard_normal((1, 1, 16, 24, 16)).astype(np.float32)
    with torch.no_grad():
        want = net.reconstruct(torch.from_numpy(x)).numpy()
    network = converted.network
    got = cheaply(lambda p, x: network.apply({"params": p}, x)[0], converted.params, np.moveaxis(x, 1, -1))
    assert np.abs(np.moveaxis(np.asarray(got), -1, 1) - want).max() <= PARITY * np.abs(want).max()

    heads = (0, 512, 768)
    unet = cases.network(
        dict(
            spatial_dims=3,
            in_channels=7,
            out_channels=3,
            channels=(256, 512, 768),
            num_res_blocks=2,
            attention_levels=(False, True, True),
            norm_num_groups=32,
            resblock_updown=True,
            num_head_channels=heads,
            with_conditioning=True,
            cross_attention_dim=4,
            upcast_attention=True,
        )
    )
    assert sum(p.numel() for p in unet.parameters()) == 553_168_899
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 7, 4, 4, 4)).astype(np.float32)
    t, context = np.array([500]), rng.standard_normal((1, 1, 4)).astype(np.float32)
    with torch.no_grad():
        want = unet(*map(torch.from_numpy, (x, t, context))).numpy()
    state = {name: p.detach().numpy() for name, p in unet.state_dict().items()}
    pair = monai_unet.from_monai(state, num_head_channels=heads, norm_num_groups=32, upcast_attention=True)
    del unet, state
    gc.collect()
    module, params = factory.unet(pair.model), jax.tree.map(jnp.asarray, pair.params)
    del pair
    gc.collect()
    got = cheaply(
        lambda p, x, t, c: module.apply({"params": p}, x, t, c),
        params,
        np.moveaxis(x, 1, -1),
        t.astype(np.float32),
        context,
    )
    assert np.abs(np.moveaxis(np.asarray(got), -1, 1) - want).max() <= PARITY * np.abs(want).max()
    assert _peak_gib() - before < 6
