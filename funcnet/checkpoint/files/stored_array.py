"""StoredArray: one array that lies in a file, read when it is asked for."""

import math
import mmap
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["StoredArray", "crc32", "map_file"]


def map_file(path: str | os.PathLike[str]) -> np.ndarray:
    """Map a file into memory as bytes that cannot be written; pages are read when they are touched."""
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)


@dataclass(frozen=True)
class StoredArray:
    """Where an array lies among the bytes of a file, and what it is.

    Attributes:
        name: its dotted name, and that of the file, for messages.
        content: the bytes of the file, mapped.
        dtype: of the array, in the byte order in which it lies.
        shape: of the array.
        begin: its first byte.
        strides: bytes from one element to the next along each axis; None where the rows lie one after the other.
        checksum: CRC-32 of its bytes, if the file tells it.
    """

    name: str
    content: np.ndarray
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int = 0
    strides: tuple[int, ...] | None = None
    checksum: int | None = None

    @property
    def nbytes(self) -> int:
        """How many bytes the array takes in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def view(self) -> np.ndarray:
        """Show the array as it lies in the file: nothing is read before it is touched; it cannot be written.

        A slice of it reads that part alone. Its bytes are not compared with their checksum: `read` does that.
        """
        if not self.nbytes:
            return np.zeros(self.shape, self.dtype)
        return np.ndarray(self.shape, self.dtype, self.content, self.begin, self.strides)

    def read(self) -> np.ndarray:
        """Copy the array into memory of its own, in the machine's byte order.

        Raises:
            ValueError: its bytes are not those that were written.
        """
        array = np.array(self.view(), dtype=self.dtype.newbyteorder("="), order="C", copy=True)
        self._let_go()
        if self.checksum is not None and crc32(array) != self.checksum:
            raise ValueError(
                f"{self.name} is damaged: its bytes are not those that were saved (CRC-32). Use another copy of "
                "the file, or an earlier checkpoint"
            )
        return array

    def _let_go(self) -> None:
        """Give back the pages that a copy has touched, else a file of any size would stay in memory beside it."""
        mapped = getattr(self.content.base, "obj", None)
        if not self.nbytes or self.strides or not hasattr(mmap, "MADV_DONTNEED"):
            return
        if isinstance(mapped, mmap.mmap):
            start = self.begin - self.begin % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, start, self.begin + self.nbytes - start)


def crc32(array: np.ndarray) -> int:
    """CRC-32 of the bytes of an array whose rows lie one after the other."""
    return zlib.crc32(array.reshape(-1).view(np.uint8).data) if array.size else 0
