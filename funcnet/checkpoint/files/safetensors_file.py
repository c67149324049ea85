"""Safetensors files: written in one pass, read in place.

Beside the arrays a file tells the CRC-32 of its header and of each array, in its metadata, where other readers
leave it alone.

Reference: https://huggingface.co/docs/safetensors
"""

import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from funcnet.checkpoint.files.stored_array import StoredArray, crc32, map_file
from funcnet.core.files import replacing
from funcnet.core.safetensors_format import DTYPES, ArrayEntry, read_header
from funcnet.module.state_dict import as_array

__all__ = [
    "CHECKSUMS",
    "SafetensorsFile",
    "check_named_arrays",
    "checksum_of",
    "damaged",
    "write_into",
    "write_safetensors",
]

CHECKSUMS = "funcnet.crc32"
"""The metadata's entry: eight hexadecimal digits for the header's other entries and for each array, in the order
in which the arrays lie."""

_ALIGNMENT = 64
"""The arrays' bytes begin at a multiple of it, so that mapped arrays are aligned."""

_WORTH_A_THREAD = 2**18
"""Bytes of an array: to sum fewer takes less time than to wake another thread."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class SafetensorsFile(Mapping[str, StoredArray]):
    """An open safetensors file: its arrays by name, none of them read yet.

    Args:
        path: of the file.

    Attributes:
        metadata: the text by name that was saved beside the arrays.
        checksums: the sums of its header and arrays as text; empty if it tells none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, is cut off, or contradicts itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with Path(path).open("rb") as file:
            self._entries, self.metadata = read_header(file, path)
        self._path = path
        self._content = map_file(path)
        self.checksums = checksum_of(self.metadata, path)
        self._sums = _read_sums(self.checksums, self._entries, self.metadata, path)

    def __getitem__(self, name: str) -> StoredArray:
        entry, label = self._entries[name], f"{self._path}: {name}"
        checksum = self._sums.get(name)
        return StoredArray(
            label, self._content, entry.dtype, entry.shape, entry.begin, None, checksum
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def write_safetensors(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write named arrays to a safetensors file, whole or not at all, holding one of them in memory at a time.

    Args:
        path: of the file; missing folders are made.
        arrays: names to arrays, JAX's, NumPy's or PyTorch's.
        metadata: text by name, kept in the file's header.

    Raises:
        TypeError: a value is no array, or its dtype has no name in the format.
        ValueError: a name is one that the format keeps for itself.
    """
    check_named_arrays(arrays, metadata)
    with replacing(path) as file:
        write_into(file, arrays, metadata)
    return Path(path)


def write_into(
    file: BinaryIO, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> str:
    """Write named arrays to an open file, and return the sums that its header tells."""
    names = sorted(arrays, key=lambda name: -_dtype(name, arrays[name]).itemsize)  # stays aligned
    # "format" is the mark that PyTorch's readers look for; old sums are those of another file
    notes = {"format": "pt", **(metadata or {})}
    notes.pop(CHECKSUMS, None)
    entries: list[list[Any]] = []
    end = 0
    for name in names:
        begin, dtype, shape = end, _dtype(name, arrays[name]), [*map(int, np.shape(arrays[name]))]
        end += math.prod(shape) * dtype.itemsize
        entries.append([name, _NAMES[dtype], shape, [begin, end]])
    sums = [_header_sum(entries, notes), *(0 for _ in names)]
    with ThreadPoolExecutor(1) as pool:
        file.write(_encoded(entries, notes, sums))
        sums[1:] = [_write(file, arrays[name], pool) for name in names]
    file.seek(0)
    file.write(_encoded(entries, notes, sums))
    return _spelled(sums)


def _write(file: BinaryIO, array: Any, pool: ThreadPoolExecutor) -> int:
    """Write one array's bytes, while another thread sums them."""
    host = np.asarray(as_array(array))
    host = np.ascontiguousarray(host, host.dtype.newbyteorder("<")).reshape(-1)
    if host.nbytes < _WORTH_A_THREAD:
        file.write(host.view(np.uint8).data)
        return crc32(host)
    try:
        summed = pool.submit(crc32, host).result
    except RuntimeError:  # at the end of the program a thread may still write, but start no other
        summed = partial(crc32, host)
    file.write(host.view(np.uint8).data)
    return summed()


def _encoded(entries: list[list[Any]], notes: dict[str, str], sums: list[int]) -> bytes:
    """Spell the file's beginning; it is as long for other sums of as many arrays."""
    header: dict[str, Any] = {"__metadata__": {**notes, CHECKSUMS: _spelled(sums)}}
    for name, dtype, shape, offsets in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


# ---- what can be written -------------------------------------------------------------------------


def check_named_arrays(arrays: Any, metadata: Any, any_dtype: bool = False) -> None:
    """Refuse what a file cannot hold, before anything of it is touched.

    Args:
        arrays: names to arrays.
        metadata: text by name, or None.
        any_dtype: the file is of another format, which holds other dtypes.

    Raises:
        TypeError: there are no names, a value is no array, or its dtype has no name in the format.
        ValueError: a name is one that the format keeps for itself, or is no text.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(
            f"expected a dict of names to arrays, got {type(arrays).__name__}: save a model's arrays with "
            "checkpoint.save_weights(path, module, params, state), and any other tree with checkpoint.save(path, tree)"
        )
    notes = {} if metadata is None else metadata
    if not isinstance(notes, Mapping) or not all(
        isinstance(text, str) for pair in notes.items() for text in pair
    ):
        raise TypeError(
            f"metadata is text by name, {{'epoch': '3'}}, got {metadata!r}: spell other values with json.dumps"
        )
    for name, array in arrays.items():
        _check_name(name)
        _check_array(name, array)
        if not any_dtype:
            _dtype(name, array)
    _check_spelling([*notes, *notes.values()])


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{name!r} names an array, and is no text: names in a file are text")
    if name == "__metadata__":
        raise ValueError("an array cannot be called '__metadata__', which safetensors files keep")
    _check_spelling([name])


def _check_spelling(words: Iterable[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{word!r} holds half of a character, which no file can hold"
            ) from None


def _check_array(name: str, array: Any) -> None:
    if isinstance(array, jax.core.Tracer):
        raise TypeError(
            f"{name} is being traced and has no values yet: return it from the function that jax.jit (or another "
            "transform) runs, and save the result"
        )
    if isinstance(array, jax.Array) and array.is_deleted():
        raise ValueError(
            f"{name} was donated to a jitted function, which took its memory: save what that function returned"
        )
    if not hasattr(array, "dtype") or not hasattr(array, "shape"):
        hint = (
            "names in a file are dotted, fn.state_dict(module, params, state); any tree: checkpoint.save(path, tree)"
            if isinstance(array, Mapping)
            else "np.asarray(value) makes one of numbers; any tree of values: checkpoint.save(path, tree)"
        )
        raise TypeError(f"{name} is no array but {type(array).__name__}: {hint}")
    if (kind := getattr(_own_dtype(array), "kind", "")) and kind in "USTO":
        what = "objects" if kind == "O" else "text"
        raise TypeError(
            f"{name} is an array of {what}, where a file holds numbers: text can be kept as metadata"
        )


def _own_dtype(array: Any) -> Any:
    return as_array(array).dtype if hasattr(array, "detach") else array.dtype


def _dtype(name: str, array: Any) -> np.dtype[Any]:
    """Find the dtype under which an array is stored."""
    dtype = _own_dtype(array)
    if dtype in _NAMES:  # most are, and there may be many
        return dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{name} is a random key: a file of arrays holds its numbers, jax.random.key_data(key), or keep it "
            "with checkpoint.save, which gives back a key"
        )
    dtype = np.dtype(dtype)
    dtype = dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype
    if dtype not in _NAMES:
        raise TypeError(
            f"{name} has dtype {dtype}, which safetensors files cannot hold; they hold "
            f"{', '.join(sorted(map(str, _NAMES)))}"
        )
    return dtype


# ---- sums ----------------------------------------------------------------------------------------


def damaged(path: Any, what: str) -> ValueError:
    """Make the error for a file that is not as it was written."""
    return ValueError(
        f"{path} is damaged: {what} not what was saved (CRC-32). Use another copy of the file, or an earlier checkpoint"
    )


def checksum_of(metadata: dict[str, Any], path: Any) -> Any:
    """Take the sums out of a file's metadata; their own name may be what is damaged."""
    for key in metadata:
        if len(key) == len(CHECKSUMS) and sum(map(str.__ne__, key, CHECKSUMS)) == 1:
            raise damaged(path, f"the name {key!r} in its metadata is")
    return metadata.pop(CHECKSUMS, "")


def _spelled(sums: list[int]) -> str:
    return "".join(f"{checksum:08x}" for checksum in sums)


def _header_sum(entries: list[list[Any]], metadata: Mapping[str, str]) -> int:
    """CRC-32 of what a header says, however it is spelled."""
    # arrays without bytes may come back in another order
    return zlib.crc32(json.dumps([sorted(entries), sorted(metadata.items())]).encode())


def _read_sums(
    text: str, entries: Mapping[str, ArrayEntry], metadata: Mapping[str, str], path: Any
) -> dict[str, int]:
    """Read the arrays' sums and meet the header's own; a file of another program has none."""
    if not text:
        return {}
    start = min((entry.begin for entry in entries.values()), default=0)
    described = [
        [name, _NAMES[e.dtype], list(e.shape), [e.begin - start, e.end - start]]
        for name, e in entries.items()
    ]
    # int() alone would take signs, spaces and capitals too
    sums = [int(digits, 16) for digits in re.findall(r"[0-9a-f]{8}", text)]
    if len(text) != 8 * (len(entries) + 1) or len(sums) != len(entries) + 1:
        sums = [-1]
    if sums[0] != _header_sum(described, metadata):
        raise damaged(path, "its header is")
    return dict(zip(entries, sums[1:], strict=True))
