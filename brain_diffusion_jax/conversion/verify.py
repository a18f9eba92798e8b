"""MONAI's network and ours side by side, layer by layer, on the same random input."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brain_diffusion_jax.conversion import monai_names
from brain_diffusion_jax.conversion.monai import Converted, monai_arguments
from brain_diffusion_jax.conversion.torch_files import State
from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models import factory
from brain_diffusion_jax.models.unet import UNet

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """One layer. difference: max |theirs - ours| / max |theirs|; absolute: max |theirs - ours|."""

    monai: str
    ours: str
    shape: tuple[int, ...]
    difference: float
    absolute: float


@dataclass(frozen=True)
class Comparison:
    """rows: in the order MONAI runs them, the whole network last. unmatched: layers with parameters of
    MONAI's that could not be compared (none, if all is well)."""

    rows: tuple[Row, ...]
    tolerance: float
    unmatched: tuple[str, ...] = ()

    @property
    def first(self) -> Row | None:
        """The first layer that differs, None where none does."""
        return next((r for r in self.rows if not r.difference <= self.tolerance), None)

    @property
    def agrees(self) -> bool:
        """Whether every layer was compared and none differs."""
        return self.first is None and not self.unmatched

    def to_json(self) -> dict[str, Any]:
        """The content of __str__ as plain JSON values; a difference that is NaN or infinite is None."""
        first = self.first

        def number(value: float) -> float | None:
            return value if np.isfinite(value) else None

        return {
            "layers": len(self.rows),
            "output_difference": number(self.rows[-1].difference),
            "largest_difference": number(max(row.difference for row in self.rows)),
            "tolerance": self.tolerance,
            "first_that_differs": first
            and {**asdict(first), "difference": number(first.difference), "absolute": number(first.absolute)},
            "not_compared": list(self.unmatched),
        }

    def __str__(self) -> str:
        whole, first = self.rows[-1], self.first
        lines = [f"{len(self.rows)} layers compared, output differs by {whole.difference:.1e} of its largest value"]
        if self.unmatched:
            lines.append(f"not compared: {', '.join(self.unmatched)}")
        if first is None:
            worst = max(self.rows, key=lambda r: r.difference)
            lines.append(
                f"all within {self.tolerance:g}; largest {worst.difference:.1e} in {worst.monai or 'the output'}"
            )
        else:
            lines.append(
                f"FIRST LAYER THAT DIFFERS: {first.monai or 'the output'} (ours: {first.ours or 'UNet'}), shape "
                f"{first.shape}: {first.difference:.3g} of its largest value, {first.absolute:.3g} absolute, "
                f"above {self.tolerance:g}"
            )
        return "\n".join(lines)


def monai_network(state: State, model: Mapping[str, Any]) -> Any:
    """MONAI's own DiffusionModelUNet with the weights of `state` loaded by MONAI itself, old names or new."""
    try:
        import torch
        from monai.networks.nets import DiffusionModelUNet
    except ImportError as error:
        raise InputError("verify", "torch and monai", f"not installed ({error})", "pip install monai torch") from None

    network = DiffusionModelUNet(**monai_arguments(model)).eval()
    tensors = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in state.items()}
    if tensors.keys() == network.state_dict().keys():
        network.load_state_dict(tensors)
    else:
        with contextlib.redirect_stdout(None):
            network.load_old_state_dict(tensors)
    return network


def _inputs(network: UNet, size: tuple[int, ...] | None, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Random x (channels-last), t, and context and labels where the network takes them."""
    rng = np.random.default_rng(seed)
    shape = size or (network.config.size_multiple * 4,) * network.config.spatial_dims
    inputs: dict[str, np.ndarray] = {
        "x": rng.standard_normal((batch, *shape, network.config.in_channels)).astype(np.float32),
        "t": rng.integers(0, 1000, batch).astype(np.float32),
    }
    if network.config.context_dim is not None:
        inputs["context"] = rng.standard_normal((batch, 2, network.config.context_dim)).astype(np.float32)
    if network.config.num_class_embeds is not None:
        inputs["class_labels"] = rng.integers(0, network.config.num_class_embeds, batch)
    return inputs


def _theirs(network: Any, inputs: Mapping[str, np.ndarray], dims: int) -> dict[str, np.ndarray]:
    """Output of every MONAI module that gives one array, channels last, in the order they finish."""
    import torch

    seen: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                array = output.detach().float().numpy()
                spatial = array.ndim == dims + 2 and not name.endswith("drop_weights")  # [b, heads, queries, keys]
                seen[name] = np.moveaxis(array, 1, -1) if spatial else array

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules()]
    with torch.no_grad():
        context, labels = inputs.get("context"), inputs.get("class_labels")
        network(
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(inputs["x"], -1, 1))),
            torch.from_numpy(inputs["t"]).long(),
            context=None if context is None else torch.from_numpy(context),
            class_labels=None if labels is None else torch.from_numpy(labels),
        )
    for handle in handles:
        handle.remove()
    return seen


def _ours(network: UNet, params: Any, inputs: Mapping[str, np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    """Output of every module of ours that gives one array."""

    @jax.jit
    def run(params: Any, inputs: Any) -> Any:
        return network.apply({"params": params}, **inputs, capture_intermediates=True, mutable=["intermediates"])

    with jax.default_matmul_precision("highest"):
        _, kept = run(params, {k: jnp.asarray(v) for k, v in inputs.items()})
    flat: dict[tuple[str, ...], np.ndarray] = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        for name, value in node.items():
            if isinstance(value, Mapping):
                walk(value, (*path, name))
            elif name == "__call__" and not isinstance(value[0], tuple | list):
                flat[path] = np.asarray(value[0], np.float32)

    walk(kept["intermediates"], ())
    return flat


def compare(
    state: State,
    converted: Converted,
    *,
    size: tuple[int, ...] | None = None,
    batch: int = 2,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Run both networks in float32 and compare the output of every layer. state: as read from the file.

    MONAI loads the state dict by its own names, so that a wrong name here shows. size: spatial; must be
    one that MONAI accepts (multiples of 2^(levels - 1)).
    """
    network = factory.unet(converted.model)
    inputs = _inputs(network, size, batch, seed)
    foreign = monai_network(state, converted.model)
    theirs = _theirs(foreign, inputs, network.config.spatial_dims)
    ours = _ours(network, converted.params, inputs)
    names: dict[str, tuple[str, ...]] = {}
    for path in ours:
        for name in monai_names.monai_module(path):
            if name in theirs:
                names.setdefault(name, path)
    rows = []
    for name, array in theirs.items():
        if name in names:
            mine = ours[names[name]]
            absolute = float(np.abs(array - mine).max()) if array.shape == mine.shape else float("inf")
            relative = absolute / max(float(np.abs(array).max()), 1e-30)
            rows.append(Row(name, ".".join(names[name]), array.shape, relative, absolute))
    trained = {name.rpartition(".")[0] for name, _ in foreign.named_parameters()}
    return Comparison(tuple(rows), tolerance, tuple(sorted(trained - names.keys())))
