"""Safetensors files as one dataset, mapped into memory."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from funcnet.data.datasets.arrays import ArrayDataset
from funcnet.data.datasets.concat import ConcatDataset

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
    parts = [ArrayDataset(_map_safetensors(Path(path))) for path in several]
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
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name} in {path} is {entry['dtype']}, which NumPy does not have")
        begin, end = entry["data_offsets"]
        if 8 + length + end > size:
            raise ValueError(
                f"{path} is truncated: {name} ends at byte {8 + length + end} of {size}"
            )
        shape, dtype = tuple(entry["shape"]), np.dtype(_DTYPES[entry["dtype"]])
        if begin == end:
            arrays[name] = np.zeros(shape, dtype)
        else:
            arrays[name] = np.memmap(path, dtype, "r", 8 + length + begin, shape)
    return arrays
