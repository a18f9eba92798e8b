"""What a config file starts from."""

from __future__ import annotations

import copy
from pathlib import Path

from ml_collections import ConfigDict

from brain_diffusion_jax.config import defaults
from brain_diffusion_jax.config.load import load_config


def base_config(kind: str = "", *, prepared_as: str | Path = "") -> ConfigDict:
    """The defaults that a config file starts from; None means "not set" and accepts any type.

    kind: diffusion, age, class or gan: what `prepare` and a model of that kind read, and nothing else.
    "" gives the settings of all kinds, as in 0.1. prepared_as: a config file that says how the data are prepared.
    """
    config = defaults.base_config(kind)
    if prepared_as:
        other = load_config(prepared_as)
        with config.ignore_type():
            for section in defaults.command_config(defaults.PREPARE):
                if section not in ("name", "data"):
                    config[section] = copy.deepcopy(other[section])
    return config
