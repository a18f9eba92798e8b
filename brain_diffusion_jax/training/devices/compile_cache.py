"""Compiled programs kept on disk, so that the second start of a config need not compile."""

from __future__ import annotations

import os

import jax


def folder() -> str:
    """$JAX_COMPILATION_CACHE_DIR, or ~/.cache/brain-diffusion/jax; "" without either (a bare uid in a container)."""
    home, given = os.path.expanduser("~"), os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    return given or (os.path.join(home, ".cache", "brain-diffusion", "jax") if os.path.isabs(home) else "")


def enable() -> str:
    """Turn on JAX's persistent cache in `folder()`; returns it. Without one programs are compiled anew."""
    chosen = folder()
    if chosen:
        jax.config.update("jax_compilation_cache_dir", chosen)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return chosen
