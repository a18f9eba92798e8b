"""Networks of others whose features are compared, by FD[name]: from the user's weights file or a registry package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brain_diffusion_jax.conversion import deepbet as deepbet_weights
from brain_diffusion_jax.conversion import inception as inception_weights
from brain_diffusion_jax.conversion import volume_backbones
from brain_diffusion_jax.evaluation.probes import volume_features
from brain_diffusion_jax.evaluation.probes.features import Extractor, inception_extractor


def extractors(
    *,
    inception: str | Path | None = None,
    inception_dims: Sequence[int] = (768,),
    medicalnet: str | Path | None = None,
    deepbet: bool = False,
) -> list[Extractor]:
    """For `StudyPlan.extractors` and `evaluate`; every file is verified first. torch reads them.

    inception: pytorch-fid's weights file, of images; inception_dims: 64, 192, 768 or 2048. medicalnet: a file of
    MedicalNet's ResNet-10, 18, 34 or 50, of volumes. deepbet: the network in the extra `deepbet`, of volumes.
    """
    found = []
    if medicalnet:
        found.append(volume_features.medicalnet_extractor(*volume_backbones.read_medicalnet(medicalnet)))
    if deepbet:
        found.append(volume_features.deepbet_extractor(*deepbet_weights.encoder()))
    if inception:
        variables, version = inception_weights.read_weights(inception)
        found += [inception_extractor(variables, version, d) for d in inception_dims]
    return found
