"""Weights of other libraries to a run folder that `brain_diffusion_jax.load` opens, and back.

  brain-diffusion convert keras DeepBrainNet_VGG16.h5 --out runs/deepbrainnet
  brain-diffusion convert monai unet.pth --out runs/reference --config configs/camcan/reference.py --verify
  brain-diffusion convert monai runs/mine --to unet.pth
  brain-diffusion convert safetensors runs/mine --out mine.safetensors

brain-diffusion convert KIND --help explains one kind.
"""

from __future__ import annotations

import argparse
import importlib

# kind: (module in brain_diffusion_jax.cli, what it reads)
KINDS: dict[str, tuple[str, str]] = {
    "keras": ("convert_keras", "age regressors of Keras 2 and 3: .h5 and .keras (DeepBrainNet)"),
    "monai": ("convert_monai", "DiffusionModelUNet of MONAI and GenerativeModels: .pt, .pth, .safetensors; and back"),
    "safetensors": ("convert_safetensors", "any run of ours as one file with its model card; and back"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for kind, (module, text) in KINDS.items():
        loaded = importlib.import_module(f"brain_diffusion_jax.cli.{module}")
        inner = kinds.add_parser(
            kind, help=text, description=loaded.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        loaded.add_arguments(inner)


def run(arguments: argparse.Namespace) -> int:
    module = importlib.import_module(f"brain_diffusion_jax.cli.{KINDS[arguments.kind][0]}")
    return module.run(arguments)
