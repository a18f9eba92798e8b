"""Config files written in Python: what get_config() returns, and every key and type of it held against the defaults."""

from __future__ import annotations

import importlib.util
import linecache
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from brain_diffusion_jax.config.override import convert, describe
from brain_diffusion_jax.errors import InputError, nearest


def read_python(path: Path, known: Sequence[str]) -> ConfigDict:
    """What get_config() of a Python file returns. known: paths of all keys, for messages about typos."""
    spec = importlib.util.spec_from_file_location(f"brain_diffusion_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(path, "config", "not Python", "a .py file with get_config()")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
    except InputError:
        raise
    except Exception as error:  # whatever a person's Python may raise
        raise _explained(path, error, known) from error
    if not isinstance(config, ConfigDict):
        raise InputError(path, "get_config()", describe(config), "a ConfigDict, begun as base_config()")
    return config


def _explained(path: Path, error: Exception, known: Sequence[str]) -> InputError:
    """The exception of a config file as one line: where in the file, what, and the nearest keys where it is a key."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = (lines[-1] if lines else getattr(error, "lineno", None)) or 0
    source = linecache.getline(str(path), line).strip()
    text = str(error).partition("\n")[0].partition(" Other fields present")[0]
    field = f"line {line}, {source}" if source else "get_config()"
    expected = "a get_config() that returns a ConfigDict"
    unknown = re.search(r"[\"'](\w+)[\"']", text) if isinstance(error, AttributeError | KeyError) else None
    if unknown is not None and source:
        written = re.search(rf"\w+\.((?:\w+\.)*{unknown[1]})\b", source)
        expected = nearest(written[1] if written else unknown[1], known)
    return InputError(path, field, f"{type(error).__name__}: {text}", expected)


def adopt(config: ConfigDict, items: dict[str, Any], where: Path, known: Sequence[str], prefix: str = "") -> None:
    """Set every item in `config`; a key that it does not have is refused, as is a value of another type.

    A section without keys of its own is one whose keys the user invents.
    """
    with config.unlocked(), config.ignore_type():
        for key, value in items.items():
            path = f"{prefix}{key}"
            if key not in config:
                raise InputError(where, path, "an unknown key", nearest(path, known))
            old = config[key]
            if isinstance(old, ConfigDict) and len(old):
                if not isinstance(value, dict):
                    raise InputError(where, path, describe(value), "a section")
                adopt(old, value, where, known, f"{path}.")
            else:
                config[key] = value if isinstance(old, ConfigDict) else convert(old, value, where, path)
