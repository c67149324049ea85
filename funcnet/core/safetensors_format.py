"""The safetensors format: its names of dtypes, and a reader of headers that believes nothing.

A file is eight bytes (the header's length, little-endian), a JSON header and the arrays' bytes, one after
the other without gaps. What is made of a header takes some six times its size, whatever it claims.

Reference: https://github.com/huggingface/safetensors, section "Format".
"""

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import ml_dtypes
import numpy as np

__all__ = ["DTYPES", "ArrayEntry", "read_header", "strict_json"]

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

_MOST_AXES = 32
"""Of an array: the limit of the oldest NumPy that funcnet runs with."""

_MOST_BYTES = 2**63 - 1
"""Of an array, without its axes of length 0: NumPy's limit."""

_BYTES_A_BRACKET = 12
"""An entry of a header takes 48 bytes at least and opens three brackets; text with more of them than one in twelve
bytes is made to fill the memory."""

_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """Where an array lies in a file: its bytes are ``begin`` to ``end``, counted from the file's start."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class _Described:
    """What a header says of one array, not checked yet: a dict of it would take three times the memory."""

    __slots__ = ("dtype", "offsets", "shape")

    def __init__(self, dtype: Any, shape: Any, offsets: Any) -> None:
        self.dtype = DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype
        self.shape = tuple(shape) if isinstance(shape, list) else shape
        self.offsets = tuple(offsets) if isinstance(offsets, list) else offsets


def read_header(
    file: BinaryIO, name: Any, size: int | None = None
) -> tuple[dict[str, ArrayEntry], dict[str, str]]:
    """Read and check the header of an open file.

    Args:
        file: at its start; open for reading bytes.
        name: of the file, for messages.
        size: of what is to be read, in bytes; None for the whole file.

    Returns:
        The arrays by name, in the order in which they lie, and the text that was saved beside them.

    Raises:
        ValueError: the file is no safetensors file, is cut off, or contradicts itself; the message says where.
    """
    size = os.fstat(file.fileno()).st_size if size is None else size
    head = file.read(8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or not 2 <= length <= min(size - 8, LONGEST_HEADER):
        raise _refusal(name, f"{size} bytes cannot hold a header of {length}")
    try:
        header = strict_json(file.read(length), _unique_or_described)
    except ValueError as error:
        raise _refusal(name, f"its header cannot be read ({error})") from None
    if not isinstance(header, dict):
        raise _refusal(name, "its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if isinstance(metadata, _Described):  # three notes that happen to have these names
        metadata = {
            "dtype": metadata.dtype,
            "shape": metadata.shape,
            "data_offsets": metadata.offsets,
        }
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _refusal(name, "its metadata is not text by name")
    _check_text(name, [*header, *metadata, *metadata.values()])
    entries = {key: _entry(name, key, value, 8 + length) for key, value in header.items()}
    del header
    return _in_order(name, entries, 8 + length, size), metadata


def strict_json(text: bytes, make: Any = None) -> Any:
    """Parse JSON as its standard has it: UTF-8, no name twice in an object, no NaN; nested like a header at most.

    Args:
        text: of any origin.
        make: an ``object_pairs_hook`` of `json.loads`; dicts without it.

    Raises:
        ValueError: it is something else; the message says what.
    """
    if _is_crowded(text):
        raise ValueError("it has far more brackets than entries")
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=make or _unique, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _is_crowded(text: bytes) -> bool:
    """Tell text that is made to fill the memory when it is parsed."""
    most = (len(text) + 400) // _BYTES_A_BRACKET
    count = _brackets(text)
    if count > most:  # brackets within names are none, but few files have such names
        count -= sum(_brackets(found[0]) for found in _TEXT.finditer(text))
    return count > most


def _brackets(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _unique_or_described(pairs: list[tuple[str, Any]]) -> Any:
    made = _unique(pairs)
    if made.keys() == {"dtype", "shape", "data_offsets"}:
        return _Described(made["dtype"], made["shape"], made["data_offsets"])
    return made


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _refusal(name: Any, problem: str) -> ValueError:
    return ValueError(f"{name} is not a safetensors file: {problem}")


def _shown(value: Any) -> str:
    """Spell a value of a file, or a name, for a message, at a length that can be read."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"


def _check_text(file: Any, words: Iterable[str]) -> None:
    """Refuse halves of characters, which JSON's escapes can spell and no file name or message can."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError as error:
        raise _refusal(file, f"a name or its metadata is no text ({error.reason})") from None


def _entry(file: Any, key: str, value: Any, start: int) -> ArrayEntry:
    if not isinstance(value, _Described):
        raise _refusal(file, f"{_shown(key)} is not described by dtype, shape and data_offsets")
    dtype = value.dtype
    if not isinstance(dtype, np.dtype):
        raise ValueError(
            f"{file}: {_shown(key)} has dtype {_shown(repr(dtype))}, which NumPy cannot hold"
        )
    shape, offsets = value.shape, value.offsets
    for numbers, what in ((shape, "shape"), (offsets, "data_offsets")):
        if not isinstance(numbers, tuple) or not all(
            type(n) is int and 0 <= n <= _MOST_BYTES for n in numbers
        ):
            raise _refusal(file, f"{_shown(key)} has {what} {_shown(numbers)}")
    if len(shape) > _MOST_AXES or len(offsets) != 2:
        raise _refusal(file, f"{_shown(key)} has {len(shape)} axes and {len(offsets)} data_offsets")
    if math.prod(n for n in shape if n) * dtype.itemsize > _MOST_BYTES:
        raise _refusal(file, f"{_shown(key)} has shape {_shown(shape)}, which overflows")
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise _refusal(
            file,
            f"{_shown(key)} of dtype {dtype} and shape {_shown(shape)} does not fill bytes {_shown(offsets)}",
        )
    return ArrayEntry(dtype, shape, start + offsets[0], start + offsets[1])


def _in_order(
    name: Any, entries: dict[str, ArrayEntry], begin: int, size: int
) -> dict[str, ArrayEntry]:
    """Sort arrays by their places, which must fill the file: no gap, no overlap, nothing left."""
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    end = begin
    for key, entry in ordered.items():
        if entry.begin != end:
            problem = (
                "overlaps the array before it" if entry.begin < end else "leaves a gap before it"
            )
            raise _refusal(
                name,
                f"{_shown(key)} begins at byte {entry.begin} and {problem}, which ends at {end}",
            )
        end = entry.end
    if end != size:
        problem = "is truncated" if end > size else "holds bytes that belong to no array"
        raise ValueError(
            f"{name} is not a whole safetensors file: it {problem}: its arrays end at byte {end} of {size}"
        )
    return ordered
