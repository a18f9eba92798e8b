"""How images are drawn: the settings of a run's config, with what was asked for, resolved once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from brain_diffusion_jax.diffusion import samplers
from brain_diffusion_jax.diffusion.plan import SamplingConfig


@dataclass(frozen=True)
class GeneratorSettings:
    """Config section `sample` of a model without sampling steps. batch_size changes no image."""

    batch_size: int = 32


@dataclass(frozen=True)
class SamplingSettings(GeneratorSettings):
    """Config section `sample` of a diffusion model.

    20 network calls were no worse than 1000 of DDPM on OASIS (docs/results.md, "Samplers against steps").
    eta: 0 is the sampler's own. guidance_scale: 1 is off, 0 unconditional.
    """

    sampler: str = "ddim"
    num_steps: int = 20
    eta: float | None = 0.0
    spacing: str = "trailing"
    guidance_scale: float = 3.0


@dataclass(frozen=True)
class Sampling(SamplingSettings):
    """The settings of a config with what was asked for: everything but the seed. eta: None is the sampler's own."""

    eta: float | None = None

    @classmethod
    def resolve(cls, defaults: GeneratorSettings, **given: Any) -> Sampling:
        """The defaults (config section `sample`), overridden by what is given; None is not given.

        A default eta of 0 leaves each sampler its own; another goes to the samplers that have one.
        """
        known = dict(vars(defaults))
        known |= {name: value for name, value in given.items() if value is not None}
        if given.get("eta") is None:
            known["eta"] = (
                (known.get("eta") or None) if "eta" in samplers.options_of(known.get("sampler", cls.sampler)) else None
            )
        return cls(**known)

    def config(self, seed: int = 0) -> SamplingConfig:
        """These settings as one configuration of a sweep. Raises InputError for settings that cannot be."""
        options = () if self.eta is None else (("eta", float(self.eta)),)
        return SamplingConfig(
            self.sampler,
            self.num_steps,
            self.spacing,
            guidance_scale=float(self.guidance_scale),
            seed=seed,
            sampler_options=options,
        )

    def with_scale(self, guidance_scale: float) -> Sampling:
        """The same settings with another guidance scale."""
        return replace(self, guidance_scale=guidance_scale)

    def record(self) -> dict[str, Any]:
        """What decides the images, as sample folders remember it; the sampler's own eta is written out."""
        own = samplers.get(self.sampler).eta if "eta" in samplers.options_of(self.sampler) else None  # type: ignore[attr-defined]
        return {
            "sampler": self.sampler,
            "num_steps": self.num_steps,
            "spacing": self.spacing,
            "eta": own if self.eta is None else self.eta,
            "guidance_scale": self.guidance_scale,
        }
