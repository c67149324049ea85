"""Safetensors files as one dataset, mapped into memory."""

import errno
import json
import struct
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.data.datasets.arrays import ArrayDataset
from funcnet.data.datasets.concat import ConcatDataset
from funcnet.data.loading.errors import naming

__all__ = ["safetensors_shards"]

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


def safetensors_shards(paths: str | Path | Sequence[str | Path]) -> ArrayDataset | ConcatDataset:
    """Open safetensors files as a dataset, mapped into memory: nothing is read before it is needed.

    Args:
        paths: one file or several; each holds arrays of the same names, whose first axis is the
            samples.

    Returns:
        A dataset of dicts, the files one after the other.

    Raises:
        ValueError: a file is not of this format, or has a type that NumPy lacks.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import save_file
        >>> path = tempfile.mkdtemp() + "/0.safetensors"
        >>> save_file({"x": np.arange(6.0).reshape(3, 2), "y": np.arange(3)}, path)
        >>> data.safetensors_shards(path)[2]["x"]
        array([4., 5.])

    Reference:
        https://github.com/huggingface/safetensors, section "Format".
    """
    several = [paths] if isinstance(paths, (str, Path)) else list(paths)
    parts = []
    for path in several:
        try:
            parts.append(ArrayDataset(_map_safetensors(Path(path))))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            raise OSError(
                errno.EMFILE,
                f"each of the {len(several)} files takes a descriptor while it is mapped, and there are"
                " no more: raise the limit (ulimit -n) or merge files",
                str(path),
            ) from error
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def _map_safetensors(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        size = path.stat().st_size
        if not 0 < length <= size - 8:
            raise ValueError(
                f"{path} is not a safetensors file: its header cannot be {length} bytes"
            )
        with naming(path, "a safetensors file"):
            header = json.loads(file.read(length), object_pairs_hook=_unique)
            header.pop("__metadata__", None)
            entries = {name: _entry(name, value) for name, value in header.items()}
    # One map for all arrays of a file: each takes a descriptor.
    whole = np.memmap(path, np.uint8, "r")[8 + length :]
    place = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != place:
            raise ValueError(f"{path} is damaged: {name} begins at byte {begin}, not {place}")
        place = end
    if place != len(whole):
        fault = "truncated" if place > len(whole) else "too long"
        raise ValueError(f"{path} is {fault}: its arrays have {place} bytes, it has {len(whole)}")
    return {
        name: np.frombuffer(whole[begin:end], dtype).reshape(shape)
        if begin < end
        else np.zeros(shape, dtype)
        for name, (dtype, shape, begin, end) in entries.items()
    }


def _entry(name: str, entry: dict[str, Any]) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Check what a header says of an array."""
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{name} is {entry['dtype']}, which NumPy does not have")
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
        raise ValueError(f"{name} has the shape {shape} and lies at {begin} to {end}")
    if end - begin != prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} takes {end - begin} bytes, which is not {dtype} {shape}")
    return dtype, shape, begin, end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"it names {', '.join(twice)} twice")
    return dict(pairs)
