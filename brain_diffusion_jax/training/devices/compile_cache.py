"""Compiled programs kept on disk, so that the second start of a config need not compile."""

from __future__ import annotations

import os

import jax

from brain_diffusion_jax import files


def folder() -> str:
    """$JAX_COMPILATION_CACHE_DIR, or ~/.cache/brain-diffusion/jax; "" without either (a bare uid in a container)."""
    return os.environ.get("JAX_COMPILATION_CACHE_DIR", "") or str(files.cache_folder("jax") or "")


def enable() -> str:
    """Turn on JAX's persistent cache in `folder()`; returns it. Without one programs are compiled anew."""
    chosen = folder()
    if chosen:
        jax.config.update("jax_compilation_cache_dir", chosen)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return chosen
