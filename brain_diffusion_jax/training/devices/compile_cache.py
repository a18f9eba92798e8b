"""Compiled programs kept on disk, so that the second start of a config need not compile."""

from __future__ import annotations

import os

import jax


def enable() -> str:
    """Turn on JAX's persistent cache: $JAX_COMPILATION_CACHE_DIR, or ~/.cache/brain-diffusion/jax; returns it.

    Without either, as for a bare uid in a container, programs are compiled anew and "" is returned.
    """
    home = os.path.expanduser("~")
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if not folder and os.path.isabs(home):
        folder = os.path.join(home, ".cache", "brain-diffusion", "jax")
    if not folder:
        return ""
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
