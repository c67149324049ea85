"""Safetensors files: written in one pass, read in place.

Beside the arrays a file tells the CRC-32 of its header and of each array, in its metadata, where other readers
leave it alone.

Reference: https://huggingface.co/docs/safetensors
"""

import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.checkpoint.files.stored_array import StoredArray, crc32, map_file
from funcnet.core.files import replacing
from funcnet.core.safetensors_format import DTYPES, read_header

__all__ = ["SafetensorsFile", "write_safetensors"]

CHECKSUMS = "funcnet.crc32"
"""The metadata's entry: eight hexadecimal digits for the header's other entries and for each array, in the order
in which the arrays lie."""

_ALIGNMENT = 64
"""The arrays' bytes begin at a multiple of it, so that mapped arrays are aligned."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class SafetensorsFile(Mapping[str, StoredArray]):
    """An open safetensors file: its arrays by name, none of them read yet.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, is cut off, or contradicts itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with Path(path).open("rb") as file:
            entries, metadata = read_header(file, path)
        content = map_file(path)
        text = metadata.pop(CHECKSUMS, "")
        start = min((entry.begin for entry in entries.values()), default=0)
        described = [
            [name, _NAMES[e.dtype], list(e.shape), [e.begin - start, e.end - start]]
            for name, e in entries.items()
        ]
        sums = _checksums(text, _header_sum(described, metadata), len(entries), path)
        self.metadata = metadata
        self._arrays = {
            name: StoredArray(
                f"{path}: {name}", content, entry.dtype, entry.shape, entry.begin, None, checksum
            )
            for (name, entry), checksum in zip(entries.items(), sums, strict=True)
        }

    def __getitem__(self, name: str) -> StoredArray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def write_safetensors(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write named arrays to a safetensors file, whole or not at all, holding one of them in memory at a time.

    Args:
        path: of the file; missing folders are made.
        arrays: names to arrays, JAX's or NumPy's.
        metadata: text by name, kept in the file's header.

    Raises:
        TypeError: an array's dtype has no name in the format.
    """
    names = sorted(arrays, key=lambda name: -_dtype(name, arrays[name]).itemsize)  # stays aligned
    # "format" is the mark that PyTorch's readers look for
    notes = {"format": "pt", **(metadata or {})}
    entries: list[list[Any]] = []
    end = 0
    for name in names:
        begin, dtype, shape = end, _dtype(name, arrays[name]), [*map(int, np.shape(arrays[name]))]
        end += math.prod(shape) * dtype.itemsize
        entries.append([name, _NAMES[dtype], shape, [begin, end]])
    sums = [_header_sum(entries, notes), *(0 for _ in names)]
    with replacing(path) as file, ThreadPoolExecutor(1) as pool:
        file.write(_encoded(entries, notes, sums))
        sums[1:] = [_write(file, arrays[name], pool) for name in names]
        file.seek(0)
        file.write(_encoded(entries, notes, sums))
    return Path(path)


def _write(file: BinaryIO, array: Any, pool: ThreadPoolExecutor) -> int:
    """Write one array's bytes, while another thread sums them."""
    host = np.asarray(jax.device_get(array))
    host = np.ascontiguousarray(host, host.dtype.newbyteorder("<")).reshape(-1)
    try:
        summed = pool.submit(crc32, host).result
    except RuntimeError:  # at the end of the program a thread may still write, but start no other
        summed = partial(crc32, host)
    if host.size:
        file.write(host.view(np.uint8).data)
    return summed()


def _encoded(entries: list[list[Any]], notes: dict[str, str], sums: list[int]) -> bytes:
    """Spell the file's beginning; it is as long for other sums of as many arrays."""
    header: dict[str, Any] = {
        "__metadata__": {**notes, CHECKSUMS: "".join(f"{checksum:08x}" for checksum in sums)}
    }
    for name, dtype, shape, offsets in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _dtype(name: str, array: Any) -> np.dtype[Any]:
    dtype = getattr(array, "dtype", None)
    if dtype is None:
        dtype = np.asarray(array).dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{name} is a random key: a file of arrays holds its numbers, jax.random.key_data(key), or keep it "
            "with checkpoint.save, which gives back a key"
        )
    dtype = np.dtype(dtype).newbyteorder("<") if np.dtype(dtype).kind in "iufc" else np.dtype(dtype)
    if dtype not in _NAMES:
        raise TypeError(
            f"{name} has dtype {dtype}, which safetensors files cannot hold; they hold "
            f"{', '.join(sorted(map(str, _NAMES)))}"
        )
    return dtype


def _header_sum(entries: list[list[Any]], metadata: Mapping[str, str]) -> int:
    """CRC-32 of what a header says, however it is spelled."""
    # arrays without bytes may come back in another order
    return zlib.crc32(json.dumps([sorted(entries), sorted(metadata.items())]).encode())


def _checksums(text: str, header: int, count: int, path: Any) -> list[int | None]:
    """Read the arrays' sums and meet the header's own; a file of another program has none."""
    if not text:
        return [None] * count
    try:
        sums: list[int | None] = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    except ValueError:
        sums = []
    if len(text) != 8 * len(sums) or len(sums) != count + 1 or sums[0] != header:
        raise ValueError(
            f"{path} is damaged: its header is not what was saved (CRC-32). Use another copy of the file, or an "
            "earlier checkpoint"
        )
    return sums[1:]
