"""Writing files that `torch.load` reads, without PyTorch."""

import io
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.checkpoint.files.pytorch_arrays import packed_strides
from funcnet.checkpoint.files.pytorch_records import ELEMENTS, STORAGE_ELEMENTS
from funcnet.core.files import replacing
from funcnet.core.paths import join

__all__ = ["write_pytorch"]

_ALIGNMENT = 64
"""The arrays' bytes begin at a multiple of it, as PyTorch's do."""

_WIDE = 2**31 - 1
"""Entries of so many bytes tell their size in 64 bits."""

_DEEPEST = 100

_PADDING = 0x4246
"""The number of the extra field that fills the space before an entry's bytes; PyTorch uses the same."""

_NAMES = {element.dtype: name for name, element in ELEMENTS.items() if element.dtype is not None}
_STORAGES = {dtype: f"{name}Storage" for name, dtype in STORAGE_ELEMENTS.items()}


def write_pytorch(path: str | os.PathLike[str], tree: Any) -> Path:
    """Write arrays and plain values as a file that ``torch.load(path, weights_only=True)`` reads.

    The file is written whole or not at all, and one array at a time is held in memory. An array object that occurs
    again is written once, and becomes tensors that share their storage.

    Args:
        path: of the file; missing folders are made.
        tree: dicts, lists and tuples of arrays (JAX's or NumPy's), numbers, text, bytes, dtypes and None; a state dict
            has PyTorch's names as its keys.

    Returns:
        The path.

    Raises:
        TypeError: something in the tree is neither array nor plain value, or PyTorch has no such dtype.
        ValueError: the tree contains itself.

    Example:
        >>> from funcnet.checkpoint.files.pytorch_file import read_pytorch
        >>> path = write_pytorch("model.pt", {"embed.weight": np.eye(2), "step": 10})
        >>> read_pytorch(path)["embed.weight"].tolist()
        [[1.0, 0.0], [0.0, 1.0]]

    Reference: https://docs.pytorch.org/docs/stable/notes/serialization.html
    """
    program = _Program()
    program.write(tree, ordered=True)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        _write_entry(archive, file, "data.pkl", program.finished())
        _write_entry(archive, file, "byteorder", b"little")
        for key, array in enumerate(program.arrays):
            _write_entry(archive, file, f"data/{key}", _host_bytes(array))
        _write_entry(archive, file, "version", b"3\n")
    return Path(path)


# ---- entries -------------------------------------------------------------------------------------


def _write_entry(archive: zipfile.ZipFile, file: BinaryIO, name: str, content: Any) -> None:
    """Write an entry that begins at a multiple of 64 bytes; its sum is filled in afterwards."""
    entry = zipfile.ZipInfo(
        f"archive/{name}"
    )  # of the year 1980: the same arrays give the same file
    size = memoryview(content).nbytes
    wide = size >= _WIDE
    begin = file.tell() + 30 + len(entry.filename) + 20 * wide
    pad = -(begin + 4) % _ALIGNMENT
    entry.extra = struct.pack("<2H", _PADDING, pad) + b"\0" * pad
    with archive.open(entry, "w", force_zip64=wide) as target:
        target.write(content)


def _host_bytes(array: Any) -> memoryview:
    """Bring an array's bytes to the host, in C order and little-endian."""
    host = np.asarray(jax.device_get(array))
    host = np.ascontiguousarray(host, _little_endian(host.dtype)).reshape(-1)
    return host.view(np.uint8).data if host.size else memoryview(b"")


def _little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype


# ---- the pickle ----------------------------------------------------------------------------------


class _Program:
    """The pickle of a tree, in the second protocol; the arrays are gathered beside it."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self._keys: dict[int, int] = {}
        self._out = io.BytesIO()
        self._out.write(b"\x80\x02")

    def finished(self) -> bytes:
        """Return the pickle's bytes."""
        self._out.write(b".")
        return self._out.getvalue()

    def write(self, value: Any, name: str = "", depth: int = 0, ordered: bool = False) -> None:
        """Write a value: a container with all it holds, an array, or a plain value."""
        if depth > _DEEPEST:
            raise ValueError(
                f"{name[:100]!r} lies within itself, or within more than {_DEEPEST} others"
            )
        if isinstance(value, Mapping):
            self._out.write(b"ccollections\nOrderedDict\n)R(" if ordered else b"}(")
            for key, item in value.items():
                self._key(key, name)
                self.write(item, join(name, str(key)), depth + 1)
            self._out.write(b"u")
        elif isinstance(value, list | tuple):
            self._out.write(b"](" if isinstance(value, list) else b"(")
            for index, item in enumerate(value):
                self.write(item, join(name, str(index)), depth + 1)
            self._out.write(b"e" if isinstance(value, list) else b"t")
        elif hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type):
            self._tensor(value, name)
        else:
            self._out.write(_plain(value, name))

    def _key(self, key: Any, name: str) -> None:
        if not isinstance(key, str | int | float | None):
            raise TypeError(
                f"{name or 'the dict'} has the key {key!r}; PyTorch's files have text or numbers"
            )
        self._out.write(_plain(key, name))

    def _tensor(self, array: Any, name: str) -> None:
        element = ELEMENTS[_dtype_name(array, name)]
        storage = _STORAGES.get(element.name)
        shape = tuple(int(size) for size in array.shape)
        numel = int(np.prod(shape, dtype=object))
        units = numel if storage else numel * element.itemsize
        key = self._keys.setdefault(id(array), len(self.arrays))
        if key == len(self.arrays):
            self.arrays.append(array)
        self._out.write(b"ctorch._utils\n_rebuild_tensor_v%d\n(" % (2 if storage else 3))
        self._out.write(b"(" + _plain("storage", name))
        self._out.write(
            f"ctorch\n{storage}\n".encode() if storage else b"ctorch.storage\nUntypedStorage\n"
        )
        for part in (str(key), "cpu", units):
            self._out.write(_plain(part, name))
        self._out.write(b"tQK\0")  # the storage, and that the tensor begins at its first element
        self.write(shape)
        self.write(packed_strides(shape))
        self._out.write(b"\x89ccollections\nOrderedDict\n)R")  # needs no gradient, and has no hooks
        self._out.write(b"" if storage else f"ctorch\n{element.name}\n".encode())
        self._out.write(b"tR")


def _dtype_name(array: Any, name: str) -> str:
    """Find what PyTorch calls an array's dtype."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{name!r} is a random key, which PyTorch lacks; write jax.random.key_data(key)"
        )
    dtype = np.dtype(array.dtype)
    if _little_endian(dtype) not in _NAMES:
        raise TypeError(
            f"{name!r} has dtype {dtype}, which PyTorch lacks; it has {', '.join(_NAMES.values())}"
        )
    return _NAMES[_little_endian(dtype)]


def _plain(value: Any, name: str) -> bytes:
    """Write a value that is no container."""
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return _whole_number(value, name)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw
    if isinstance(value, bytes):
        text = _plain(value.decode("latin1"), name) + _plain("latin1", name)
        return b"c_codecs\nencode\n" + text + b"\x86R"
    if isinstance(value, np.dtype) and _little_endian(value) in _NAMES:
        return f"ctorch\n{_NAMES[_little_endian(value)]}\n".encode()
    raise TypeError(
        f"{name!r} is a {type(value).__name__}, which PyTorch's files cannot hold without a program; they hold arrays, "
        "numbers, text, bytes, None, and dicts, lists and tuples of them"
    )


def _whole_number(value: int, name: str) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    if size > 255:
        raise TypeError(f"{name!r} is a number of {size} bytes; PyTorch's files hold 255 at most")
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
