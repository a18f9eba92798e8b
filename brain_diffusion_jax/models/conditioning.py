"""From a batch of covariates (values, present) to what the UNet sees; see covariates.Schema.encode."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from brain_diffusion_jax.errors import InputError
from brain_diffusion_jax.models.attention import Tokens
from brain_diffusion_jax.models.embeddings import TimeMLP, fourier_features
from brain_diffusion_jax.models.layers import Features
from brain_diffusion_jax.models.unet import UNet

Values = Float[Array, "batch n"]
Present = Bool[Array, "batch n"]


class CovariateTokens(nn.Module):
    """One token a covariate, with a learned null of its own where the covariate is absent.

    cardinalities: categories of each covariate, 0 for a continuous one (Schema.cardinalities). A
    continuous value becomes Fourier features and a small MLP, a category a row of a table. `values`
    has no influence where `present` is False, NaN included.
    """

    cardinalities: tuple[int, ...]
    width: int

    @nn.compact
    def __call__(self, values: Values, present: Present) -> Tokens:
        """[b, n] and [b, n] -> float32 [b, n, width]."""
        values = jnp.where(present, values, 0.0).astype(jnp.float32)
        nulls = self.param("nulls", nn.initializers.normal(0.02), (len(self.cardinalities), self.width), jnp.float32)
        tokens = []
        for i, cardinality in enumerate(self.cardinalities):
            if cardinality:
                token = nn.Embed(cardinality, self.width, name=f"categories_{i}")(values[:, i].astype(jnp.int32))
            else:
                token = TimeMLP(self.width, name=f"number_{i}")(fourier_features(values[:, i]))
            tokens.append(token)
        return jnp.where(present[..., None], jnp.stack(tokens, axis=1), nulls)


class RawToken(nn.Module):
    """One token of the numbers themselves. In the reference system: [age in years, sex 1|2, slice index].

    Number i is offsets[i] + scales[i] * values[i] (offsets and scales undo the schema's encoding), or
    `null` where absent. No parameters.
    """

    offsets: tuple[float, ...]
    scales: tuple[float, ...]
    null: float = -1.0

    def __call__(self, values: Values, present: Present) -> Tokens:
        """[b, n] and [b, n] -> float32 [b, 1, n]."""
        numbers = jnp.asarray(self.offsets) + jnp.asarray(self.scales) * jnp.where(present, values, 0.0)
        return jnp.where(present, numbers, self.null).astype(jnp.float32)[:, None, :]


class ConditionalUNet(nn.Module):
    """A UNet with a condition (values, present); parameters are {"unet": ..., "conditioner": ...}.

    conditioner: CovariateTokens, RawToken, or None for an unconditional network. The tokens reach the
    UNet as the context of its cross-attention if it has one. summary: also all tokens together,
    through an MLP onto the time embedding, so that the condition reaches every block. planes: also the
    numbers of a single token as constant extra input channels (Pinaya et al. 2022); beside learned tokens the numbers
    are those of `numbers`.
    """

    unet: UNet
    conditioner: CovariateTokens | RawToken | None
    summary: TimeMLP | None = None
    planes: bool = False
    numbers: RawToken | None = None

    def __call__(
        self, x: Features, t: Float[Array, " batch"], values: Values, present: Present, *, train: bool = False
    ) -> Features:
        """x [b, *spatial, in], t [b], values and present [b, n] -> float32 [b, *spatial, out]."""
        if self.conditioner is None:
            if self.unet.config.cross_attention:
                expected = "a schema: give the converter a --config"
                raise InputError("condition", "conditioning.mode", "external", expected)
            return self.unet(x, t, train=train)
        tokens = self.conditioner(values, present)
        embedding = None if self.summary is None else self.summary(tokens.reshape(tokens.shape[0], -1))
        if self.planes:
            shown = tokens if self.numbers is None else self.numbers(values, present)
            numbers = shown.reshape(x.shape[0], *(1,) * (x.ndim - 2), -1).astype(x.dtype)
            counted, own, extra = self.unet.config.in_channels, x.shape[-1], numbers.shape[-1]
            if counted != own + extra:
                expected = f"{own + extra}: {own} of the images and {extra} planes"
                raise InputError("config", "model.in_channels", counted, expected)
            x = jnp.concatenate([x, jnp.broadcast_to(numbers, (*x.shape[:-1], numbers.shape[-1]))], axis=-1)
        context = tokens if self.unet.config.cross_attention else None
        return self.unet(x, t, context, embedding=embedding, train=train)
