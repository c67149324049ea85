"""Compiled programs kept on disk, so that the next process starts without compiling them."""

import os
from pathlib import Path

import jax

from funcnet.core.jax_internals.compilation import reset_compilation_cache

__all__ = ["compilation_cache"]


def compilation_cache(
    directory: str | os.PathLike[str] | None = None, min_compile_seconds: float = 0.1
) -> Path:
    """Keep compiled programs in a folder, from now on, and read them from there.

    JAX has such a cache, but switched off, and with thresholds under which small programs are not
    kept; this switches it on, also when the process has compiled something before. A program is
    found again by its code, its shapes, the device and the versions of JAX and XLA.

    Args:
        directory: the folder; ``$XDG_CACHE_HOME/funcnet`` or ``~/.cache/funcnet`` by default.
        min_compile_seconds: programs that compile faster than this are not kept.

    Returns:
        The folder.

    >>> folder = transforms.compilation_cache("compiled")
    >>> folder.is_dir()
    True
    >>> jax.config.update("jax_compilation_cache_dir", None)    # and this switches it off
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base, "funcnet") if directory is None else Path(directory)
    folder = folder.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", min_compile_seconds)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    reset_compilation_cache()
    return folder
