"""The safetensors format: its names of dtypes, and a reader of headers that believes nothing.

A file is eight bytes (the header's length, little-endian), a JSON header and the arrays' bytes, one after
the other without gaps. Nothing here allocates more than the header's own size, whatever a file claims.

Reference: https://github.com/huggingface/safetensors, section "Format".
"""

import json
import math
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

__all__ = ["DTYPES", "ArrayEntry", "read_header"]

DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "C64": np.dtype("<c8"),
}
"""The format's names of dtypes."""

LONGEST_HEADER = 100_000_000
"""The format's own limit, in bytes."""


@dataclass(frozen=True)
class ArrayEntry:
    """Where an array lies in a file: its bytes are ``begin`` to ``end``, counted from the file's start."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: BinaryIO, name: Any) -> tuple[dict[str, ArrayEntry], dict[str, str]]:
    """Read and check the header of an open file.

    Args:
        file: at its start; open for reading bytes.
        name: of the file, for messages.

    Returns:
        The arrays by name, in the order in which they lie, and the text that was saved beside them.

    Raises:
        ValueError: the file is no safetensors file, is cut off, or contradicts itself; the message says where.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or not 2 <= length <= min(size - 8, LONGEST_HEADER):
        raise _refusal(name, f"{size} bytes cannot hold a header of {length}")
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _refusal(name, f"its header cannot be read ({error})") from None
    if not isinstance(header, dict):
        raise _refusal(name, "its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _refusal(name, "its metadata is not text by name")
    entries = {key: _entry(name, key, value, 8 + length) for key, value in header.items()}
    end = 8 + length
    for key, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            problem = (
                "overlaps the array before it" if entry.begin < end else "leaves a gap before it"
            )
            raise _refusal(
                name, f"{key} begins at byte {entry.begin} and {problem}, which ends at {end}"
            )
        end = entry.end
    if end != size:
        problem = "is truncated" if end > size else "holds bytes that belong to no array"
        raise ValueError(
            f"{name} is not a whole safetensors file: it {problem}: its arrays end at byte {end} of {size}"
        )
    return dict(sorted(entries.items(), key=lambda item: item[1].begin)), metadata


def _refusal(name: Any, problem: str) -> ValueError:
    return ValueError(f"{name} is not a safetensors file: {problem}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _entry(file: Any, key: str, value: Any, start: int) -> ArrayEntry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _refusal(file, f"{key} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = DTYPES.get(str(value["dtype"])), value["shape"], value["data_offsets"]
    if dtype is None:
        raise ValueError(f"{file}: {key} has dtype {value['dtype']!r}, which NumPy cannot hold")
    for numbers, what in ((shape, "shape"), (offsets, "data_offsets")):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise _refusal(file, f"{key} has {what} {numbers!r}")
    if len(offsets) != 2 or math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise _refusal(
            file, f"{key} of dtype {value['dtype']} and shape {shape} does not fill bytes {offsets}"
        )
    return ArrayEntry(dtype, tuple(shape), start + offsets[0], start + offsets[1])
