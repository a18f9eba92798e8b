"""A MONAI bundle of latent diffusion, such as the published brain model, to two run folders.

  brain-diffusion convert monai-bundle brain_image_synthesis_latent_diffusion_model --out runs/brain
  brain-diffusion convert monai-bundle my_bundle --contract shards/volumes --latent-scale 1.0

Takes the folder whole: weights of models/ (an AutoencoderKL and a DiffusionModelUNet, old names or new; found by
their keys) and settings of configs/*.json (expressions are not executed). Writes runs/brain/autoencoder and
runs/brain/latent_diffusion. --contract gives the meaning of the conditions and the grid.
"""

from __future__ import annotations

from pathlib import Path

from brain_diffusion_jax.cli.parsing import OptionGroup, argument, option


class Options(OptionGroup):
    """The bundle, where it goes, and what its configs do not tell."""

    source: Path = argument("bundle folder", metavar="FOLDER")
    out: Path = option("folder to write (new; default: runs/NAME of the bundle)", metavar="RUNS")
    latent_scale: float | None = option("factor of the latents (default: scale_factor of the configs, else 1)")
    contract: Path | None = option("shards or run whose data contract holds", metavar="FOLDER")
    size: tuple[int, ...] | None = option("of the images (default: as metadata.json says)", metavar="N,N,N")

    def default_out(self) -> Path:
        """The folder of both runs without --out."""
        return Path("runs") / self.source.resolve().name


def next_step(options: Options) -> str:
    """What came out of it."""
    return f"brain-diffusion info {options.out / 'latent_diffusion'}"


def run(options: Options) -> int:
    """Write both run folders, or neither."""
    from brain_diffusion_jax.api import bundles

    lines = bundles.import_bundle(
        options.source,
        options.out,
        latent_scale=options.latent_scale,
        contract=options.contract,
        size=options.size,
    )
    print("\n".join(lines))
    return 0
