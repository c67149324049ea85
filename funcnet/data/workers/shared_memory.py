"""Shared memory without a name: it is gone when the last process that has it open is gone.

A block is a file that no directory lists (``memfd_create``, or a temporary file already unlinked).
Worker processes inherit its descriptor, so nothing has to be removed, even after a ``kill -9``. What
has a name (``multiprocessing.shared_memory``) stays until somebody who is still alive removes it.
"""

import contextlib
import mmap
import os
import sys
import tempfile
from math import prod
from typing import Any

import numpy as np

__all__ = [
    "Arena",
    "SharedFile",
    "address",
    "attach",
    "create_fd",
    "mapped_file",
    "open_map",
    "shared_base",
]

_ALIGNMENT = 64
_ARENA = 1 << 26  # bytes of a file for many arrays; those that nobody writes take no memory


class SharedFile(mmap.mmap):
    """A mapping of a nameless file that remembers the file's descriptor.

    NumPy arrays made over it keep it alive; the descriptor is closed with it.
    """

    fd: int

    @classmethod
    def create(cls, nbytes: int) -> "SharedFile":
        """Make a file of zeros and map it."""
        fd = create_fd()
        os.ftruncate(fd, max(nbytes, 1))  # an empty file cannot be mapped
        mapping = cls(fd, max(nbytes, 1))
        # `mmap` keeps a duplicate of its own, but hides its number; workers must be given one.
        mapping.fd = fd
        return mapping

    def __del__(self) -> None:
        fd = self.__dict__.pop("fd", None)
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)


class Arena:
    """Shared files that many arrays lie in: a descriptor for each array would soon be too many.

    Example:
        >>> from funcnet.data.workers.shared_memory import Arena
        >>> arena = Arena()
        >>> first, second = (arena.empty((3,), np.dtype("f4"))[1] for _ in range(2))
        >>> first is second
        True
    """

    def __init__(self) -> None:
        self._file: SharedFile | None = None
        self._used = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, SharedFile]:
        """Make an array in a shared file; the file lives as long as an array in it."""
        nbytes = prod(shape) * dtype.itemsize
        if self._file is None or self._used + nbytes > len(self._file):
            self._file, self._used = SharedFile.create(max(nbytes, _ARENA)), 0
        array = np.ndarray(shape, dtype, self._file, self._used)
        self._used += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        return array, self._file


def create_fd() -> int:
    """Open an empty nameless file, in memory where the system can.

    >>> import os
    >>> from funcnet.data.workers.shared_memory import create_fd
    >>> os.close(create_fd())
    """
    if sys.platform == "linux":
        return os.memfd_create("funcnet")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def shared_base(array: np.ndarray) -> SharedFile | None:
    """Return the shared file that an array lies in, if it does.

    >>> from funcnet.data.workers.shared_memory import shared_base
    >>> shared_base(np.ones(3)) is None, shared_base(data.share(np.ones(3))[1:]) is None
    (True, False)
    """
    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, SharedFile) else None


def address(array: np.ndarray) -> int:
    """Return where in memory an array begins."""
    return array.__array_interface__["data"][0]


def mapped_file(array: np.ndarray) -> tuple[str, int] | None:
    """Return the file that an array is mapped from, and where in it the array begins.

    >>> from funcnet.data.workers.shared_memory import mapped_file
    >>> mapped_file(np.ones(3)) is None
    True
    """
    base: Any = array
    # The array that owns the mapping: views of it copy its `offset`, which is then not theirs.
    while isinstance(base, np.ndarray) and not isinstance(base.base, mmap.mmap):
        base = base.base
    # What was written to a copy-on-write map ("c") is in this process only, not in the file.
    if not isinstance(base, np.memmap) or base.mode == "c" or base.filename is None:
        return None
    return str(base.filename), base.offset + address(array) - address(base)


_maps: dict[int | str, Any] = {}
"""Of a worker process: what it has mapped, by descriptor or by file name, once for all arrays in it."""


def attach(fd: int, offset: int, dtype: Any, shape: Any, strides: Any) -> np.ndarray:
    """Map an array of an inherited file, to be read only: a write in a worker would reach all."""
    if fd not in _maps:
        _maps[fd] = mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ)
    return np.ndarray(shape, dtype, _maps[fd], offset, strides)


def open_map(file: str, offset: int, dtype: Any, shape: Any, strides: Any) -> np.ndarray:
    """Map an array of a file on disk, to be read only."""
    if file not in _maps:
        _maps[file] = np.memmap(file, np.uint8, mode="r")
    return np.ndarray(shape, dtype, _maps[file], offset, strides)
