"""Our UNet against the installed MONAI over the whole option space: outputs, gradients, both ways of conversion."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brain_diffusion_jax.conversion import monai
from brain_diffusion_jax.models import factory
from tests.conversion import monai_cases as cases

pytestmark = pytest.mark.parity
FORWARD, GRADIENT = 1e-4, 1e-3
# Those with gradients cost a longer compilation: mostly networks of one level, odd in size.
SEEDS = range(32)
WITH_GRADIENT = (0, 1, 3, 5, 6, 9, 11, 12, 15, 18)
# Compiling is the whole cost of these networks, running them nothing.
_CHEAP = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def _converted(net: Any, arguments: dict[str, Any]) -> monai.Converted:
    return monai.from_monai(
        cases.state_of(net),
        num_head_channels=arguments["num_head_channels"],
        norm_num_groups=arguments["norm_num_groups"],
        norm_eps=arguments["norm_eps"],
        upcast_attention=arguments["upcast_attention"],
        dropout_cattn=arguments["dropout_cattn"],
    )


def _torch_run(net: Any, given: dict[str, np.ndarray], weights: np.ndarray | None) -> tuple[np.ndarray, dict]:
    """Output, and gradients of sum(weights * output^2) by MONAI's names."""
    import torch

    call = {k: torch.from_numpy(v) for k, v in given.items()}
    x, t = call.pop("x"), call.pop("t")
    if weights is None:
        with torch.no_grad():
            return net(x, t, **call).numpy(), {}
    y = net(x, t, **call)
    (torch.from_numpy(weights) * y**2).sum().backward()
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in net.named_parameters()}
    return y.detach().numpy(), {n: g.numpy() for n, g in gradients.items()}


def _our_run(converted: monai.Converted, given: dict[str, np.ndarray], weights: np.ndarray | None) -> tuple:
    network = factory.unet(converted.model)
    call = {k: jnp.asarray(v) for k, v in given.items()}
    call["x"], call["t"] = jnp.moveaxis(call["x"], 1, -1), call["t"].astype(jnp.float32)

    def forward(params, call):
        return jnp.moveaxis(network.apply({"params": params}, **call), -1, 1)

    def loss(params, call):
        y = forward(params, call)
        return (weights * y**2).sum(), y

    program = forward if weights is None else jax.value_and_grad(loss, has_aux=True)
    result = jax.jit(program).lower(converted.params, call).compile(_CHEAP)(converted.params, call)
    if weights is None:
        return np.asarray(result), None
    (_, y), gradients = result
    return np.asarray(y), gradients


@pytest.mark.parametrize("seed", SEEDS)
def test_outputs_and_gradients_are_monais(seed: int) -> None:
    case = cases.draw(seed)
    net = cases.network(case.arguments, seed)
    converted, given = _converted(net, case.arguments), cases.inputs(case)
    weights = None
    if seed in WITH_GRADIENT:
        shape = (case.batch, case.arguments["out_channels"], *case.size)
        weights = np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)
    theirs, their_gradients = _torch_run(net, given, weights)
    ours, our_gradients = _our_run(converted, given, weights)
    assert theirs.std() > 1e-3  # random weights everywhere: the output says something
    assert np.abs(ours - theirs).max() <= FORWARD * np.abs(theirs).max()

    if our_gradients is not None:
        by_name = monai.to_monai(our_gradients, converted.model)
        assert by_name.keys() == their_gradients.keys()
        # Some gradients are zero but for rounding (the key's bias; keys of a single token).
        floor = 1e-4 * max(np.abs(g).max() for g in their_gradients.values())
        wrong = {
            name: float(np.abs(by_name[name] - g).max() / max(np.abs(g).max(), floor))
            for name, g in their_gradients.items()
        }
        assert max(wrong.values()) <= GRADIENT, max(wrong, key=wrong.__getitem__)

    # And back: the same tensors, which MONAI loads by its own strict rule.
    state, back = cases.state_of(net), monai.to_monai(converted.params, converted.model)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_the_cases_cover_the_options() -> None:
    drawn = [cases.draw(seed) for seed in SEEDS]
    for some, required in ((drawn, 30), ([cases.draw(s) for s in WITH_GRADIENT], 10)):
        assert len(some) >= required
        for key in drawn[0].arguments:
            if key not in ("channels", "num_head_channels", "num_res_blocks", "norm_num_groups"):
                assert len({str(c.arguments[key]) for c in some}) > 1, key
        assert {c.batch for c in some} == {1, 3}
        assert any(s % 2 for c in some for s in c.size)
    assert {c.tokens for c in drawn if c.conditioned} >= {0, 1, 4}


def test_the_published_network_once() -> None:
    """The reference system's network: 99.43 M parameters, at 32 x 32."""
    arguments = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "channels": (256, 256, 512),
        "attention_levels": (False, False, True),
        "num_res_blocks": 2,
        "num_head_channels": (0, 0, 512),
        "with_conditioning": True,
        "cross_attention_dim": 3,
    }
    net = cases.network(arguments)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(99.43e6, abs=0.005e6)
    converted = monai.from_monai(cases.state_of(net), num_head_channels=(0, 0, 512), norm_num_groups=32)
    assert sum(a.size for a in jax.tree.leaves(converted.params)) == sum(p.numel() for p in net.parameters())
    rng = np.random.default_rng(0)
    given = {
        "x": rng.standard_normal((1, 1, 32, 32)).astype(np.float32),
        "t": np.array([500]),
        "context": np.array([[[63.0, 2.0, 44.0]]], np.float32),
    }
    theirs, _ = _torch_run(net, given, None)
    ours, _ = _our_run(converted, given, None)
    assert np.abs(ours - theirs).max() <= FORWARD * np.abs(theirs).max()


@pytest.mark.parametrize("conditioned", [False, True])
def test_old_names_are_what_monai_itself_reads_as_old(conditioned: bool) -> None:
    """Our "old" state dict goes through MONAI's own load_old_state_dict; old and new names convert alike."""
    arguments = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "channels": (4, 8),
        "num_res_blocks": 1,
        "attention_levels": (True, True),
        "num_head_channels": 4,
        "norm_num_groups": 4,
        "with_conditioning": conditioned,
        "cross_attention_dim": 3 if conditioned else None,
    }
    net = cases.network(arguments)
    options = {"num_head_channels": 4, "norm_num_groups": 4}
    converted = monai.from_monai(cases.state_of(net), **options)
    old = monai.to_monai(converted.params, converted.model, names="old")
    assert old.keys() != cases.state_of(net).keys()
    assert any("to_out.0" in name if conditioned else "proj_attn" in name for name in old)

    import torch

    fresh = cases.network(arguments, seed=1)
    fresh.load_old_state_dict({name: torch.from_numpy(array) for name, array in old.items()})
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), net.parameters(), strict=True))
    again = monai.from_monai(old, **options)
    jax.tree.map(np.testing.assert_array_equal, again.params, converted.params)


def test_control_residuals_are_monais() -> None:
    """What a ControlNet adds to the states of the way down and to the middle."""
    import torch

    case = cases.draw(8)
    net = cases.network(case.arguments, 8)
    converted, given = _converted(net, case.arguments), cases.inputs(case)
    states: list[Any] = []
    handles = [net.conv_in.register_forward_hook(lambda m, a, y: states.append(y))]
    handles += [b.register_forward_hook(lambda m, a, y: states.extend(y[1])) for b in net.down_blocks]
    handles.append(net.middle_block.register_forward_hook(lambda m, a, y: states.append(y)))
    call = {k: torch.from_numpy(v) for k, v in given.items()}
    x, t = call.pop("x"), call.pop("t")
    with torch.no_grad():
        plain = net(x, t, **call)
        for handle in handles:
            handle.remove()
        *down, middle = [torch.randn_like(s) for s in states]
        theirs = net(
            x, t, **call, down_block_additional_residuals=tuple(down), mid_block_additional_residual=middle
        ).numpy()
    assert np.abs(theirs - plain.numpy()).max() > 1e-2
    given = {
        **given,
        "down_residuals": [np.moveaxis(r.numpy(), 1, -1) for r in down],
        "mid_residual": np.moveaxis(middle.numpy(), 1, -1),
    }
    network = factory.unet(converted.model)
    ours = jax.jit(lambda p, c: network.apply({"params": p}, **c))(
        converted.params, {**given, "x": np.moveaxis(given["x"], 1, -1), "t": given["t"].astype(np.float32)}
    )
    assert np.abs(np.moveaxis(np.asarray(ours), -1, 1) - theirs).max() <= FORWARD * np.abs(theirs).max()
