"""Named arrays in files: safetensors, several with an index, or PyTorch's; read whoever wrote them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.checkpoint.files.formats import open_arrays, open_selected
from funcnet.checkpoint.files.index_file import shard_paths, write_shards
from funcnet.checkpoint.files.pytorch_writer import save_pytorch
from funcnet.checkpoint.files.safetensors_file import check_named_arrays, write_safetensors
from funcnet.checkpoint.files.stored_array import StoredArray
from funcnet.checkpoint.names import selected_names
from funcnet.core.files import as_path
from funcnet.module.state_dict import as_array

__all__ = [
    "PYTORCH_SUFFIXES",
    "cast",
    "floating",
    "listed",
    "load_arrays",
    "load_metadata",
    "save_arrays",
]

PYTORCH_SUFFIXES = (".pt", ".pth", ".bin")
"""What is written as `torch.save` does; anything else is written as safetensors."""


_BATCH = 2**22
"""Bytes that a thread reads at a time, at least."""


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    *,
    shard_bytes: int | str | None = None,
) -> Path:
    """Write named arrays to a file, whole or not at all: safetensors, or PyTorch's format for ``.pt``.

    Args:
        path: of the file; missing folders are made. ``.pt``, ``.pth`` and ``.bin`` are written as ``torch.load``
            reads them, any other name as a safetensors file.
        arrays: dotted names to arrays: JAX's, NumPy's or PyTorch's.
        metadata: text to keep in the file's header, if it is a safetensors file.
        shard_bytes: how many bytes of arrays a file may hold, such as ``"5GB"``. More are written to several,
            ``model-00001-of-00003.safetensors`` beside ``model.safetensors.index.json``, as Hugging Face's tools do.

    Returns:
        The path; that of the index if there are several files.

    Raises:
        TypeError: a value is no array, or has a dtype that the format lacks; the message names it.
        ValueError: a name or a size that cannot be, or metadata for a format that has none.

    Example:
        >>> path = fn.checkpoint.save_arrays("a.safetensors", {"x": np.arange(3)})
        >>> fn.checkpoint.load_arrays(path)["x"].tolist()
        [0, 1, 2]

    Reference: https://huggingface.co/docs/safetensors
    """
    path = as_path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: give a file's path, such as {path / 'model.safetensors'}"
        )
    if shard_bytes is not None:
        index = write_shards(path, arrays, metadata, shard_bytes)
        if index is not None:
            return index
    if path.suffix in PYTORCH_SUFFIXES:
        return _save_pytorch(path, arrays, metadata)
    write_safetensors(path, arrays, metadata)
    _remove_shards(path)
    return path


def _save_pytorch(path: Path, arrays: Mapping[str, Any], metadata: Any) -> Path:
    check_named_arrays(arrays, metadata, any_dtype=True)
    if metadata:
        raise ValueError(
            f"metadata cannot be kept in {path}: PyTorch's format has no place for it; use .safetensors"
        )
    return save_pytorch(path, {name: as_array(array) for name, array in arrays.items()})


def _remove_shards(path: Path) -> None:
    """Take away the index that stood for the same path, lest two savings lie in one folder."""
    index = Path(f"{path}.index.json")
    shards = shard_paths(index) if index.exists() else []
    for stale in (
        [index, *shards] if shards else []
    ):  # the index first: shards without it are only waste
        stale.unlink(missing_ok=True)


def load_arrays(
    path: str | os.PathLike[str],
    *,
    select: str | Iterable[str] | None = None,
    dtype: Any = None,
) -> dict[str, np.ndarray]:
    """Read the named arrays of a file into host memory, whoever wrote it.

    Args:
        path: of a safetensors file, an index of several, a file of ``torch.save``, or the folder of a model.
        select: names, or patterns such as ``"encoder.*"``, of the arrays to read; None reads all.
        dtype: of floating-point arrays, whatever they are stored in; others keep theirs.

    Returns:
        Names to arrays, in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, is cut off or damaged, or a pattern matches no name.
        TypeError: ``dtype`` is no floating-point one.

    Example:
        >>> path = fn.checkpoint.save_arrays("a.safetensors", {"x": np.ones((2, 2)), "n": np.arange(3)})
        >>> fn.checkpoint.load_arrays(path, select="x*", dtype=jnp.bfloat16)["x"].dtype
        dtype(bfloat16)
    """
    dtype = floating(dtype)
    patterns = listed(select)
    stored = open_selected(path, patterns)
    names = selected_names(stored, patterns, path)
    # copying and summing leave Python's lock alone; to cast, one array at a time lies there twice
    with ThreadPoolExecutor(1 if dtype else min(4, os.cpu_count() or 1)) as pool:

        def read(batch: list[str]) -> list[tuple[str, np.ndarray]]:
            return [(name, cast(stored[name].read(), dtype)) for name in batch]

        return dict(chain.from_iterable(pool.map(read, _batches(stored, names))))


def _batches(stored: Mapping[str, StoredArray], names: list[str]) -> Iterator[list[str]]:
    """Put small arrays together: to wake a thread for each takes longer than to read it."""
    batch: list[str] = []
    nbytes = 0
    for name in names:
        batch.append(name)
        nbytes += stored[name].nbytes
        if nbytes >= _BATCH:
            yield batch
            batch, nbytes = [], 0
    yield batch


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the text that was saved beside the arrays of a file.

    Args:
        path: as for `load_arrays`. A file of PyTorch has none; an index gives its own and that of its files.

    Returns:
        Text by name; files for PyTorch's readers have ``"format": "pt"`` among it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, is cut off or damaged.

    Example:
        >>> path = fn.checkpoint.save_arrays("a.safetensors", {"x": np.ones(2)}, {"epoch": "3"})
        >>> fn.checkpoint.load_metadata(path)["epoch"]
        '3'
    """
    return dict(getattr(open_arrays(path), "metadata", {}))


def listed(select: str | Iterable[str] | None) -> list[str] | None:
    """Make a list of one pattern, or of several."""
    if select is None:
        return None
    return [select] if isinstance(select, str) else list(select)


def floating(dtype: Any) -> Any:
    """Refuse a dtype that is no floating-point one; None stays."""
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"dtype={dtype!r} is no floating-point dtype: only floats are cast, to jnp.bfloat16 or another"
        )
    return None if dtype is None else jnp.dtype(dtype)


def cast(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Cast an array of floats; any other stays as it is."""
    is_float = dtype is not None and jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(dtype, copy=False) if is_float else array
