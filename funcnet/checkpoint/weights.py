"""Weights in safetensors files, under PyTorch's names, readable by PyTorch and Hugging Face tools."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.checkpoint.files.safetensors_file import SafetensorsFile, write_safetensors
from funcnet.checkpoint.files.stored_array import StoredArray
from funcnet.core.aliases import Params, State
from funcnet.module import Module, load_state_dict, state_dict

__all__ = ["load_arrays", "load_weights", "save_arrays", "save_weights"]


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write named arrays to a safetensors file, whole or not at all.

    Args:
        path: of the file; missing folders are made.
        arrays: dotted names to arrays.
        metadata: text to keep in the file's header.

    Returns:
        The path.

    Example:
        >>> path = fn.checkpoint.save_arrays("a.safetensors", {"x": np.arange(3)})
        >>> fn.checkpoint.load_arrays(path)["x"].tolist()
        [0, 1, 2]

    Reference: https://huggingface.co/docs/safetensors
    """
    return write_safetensors(path, arrays, metadata)


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of a safetensors file into host memory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a safetensors file, or it is cut off.

    Example:
        >>> path = fn.checkpoint.save_arrays("a.safetensors", {"x": np.ones((2, 2), np.float32)})
        >>> fn.checkpoint.load_arrays(path)["x"].shape
        (2, 2)
    """
    stored = SafetensorsFile(path)
    with ThreadPoolExecutor(2) as pool:  # copying and summing leave Python's lock alone
        return dict(zip(stored, pool.map(StoredArray.read, stored.values()), strict=True))


def save_weights(
    path: str | os.PathLike[str], module: Module, params: Params, state: State | None = None
) -> Path:
    """Save a model's arrays so that PyTorch's ``load_state_dict(strict=True)`` takes them.

    Args:
        path: of the safetensors file.
        module: the description that the trees belong to.
        params: the trained arrays.
        state: the buffers; without them only parameters are saved.

    Returns:
        The path.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> path = fn.checkpoint.save_weights("runs/model.safetensors", layer, params, state)
        >>> params, state = fn.checkpoint.load_weights(path, layer)
    """
    return save_arrays(path, state_dict(module, params, state))


def load_weights(
    path: str | os.PathLike[str], module: Module, strict: bool = True
) -> tuple[Params, State]:
    """Load the arrays of a model from a safetensors file, whoever wrote it.

    Args:
        path: of the file.
        module: the description to fit them to.
        strict: raise if a name is missing or left over.

    Returns:
        ``(params, state)``.

    Raises:
        StateDictError: the names or shapes do not fit; all are listed.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> path = fn.checkpoint.save_arrays("w.safetensors", {"weight": np.ones((2, 3), np.float32),
        ...                                                    "bias": np.zeros(2, np.float32)})
        >>> params, state = fn.checkpoint.load_weights(path, layer)
        >>> params["weight"].shape
        (2, 3)
    """
    return load_state_dict(module, load_arrays(path), strict)
