"""Reused blocks of shared memory, through which worker processes hand over batches."""

import contextlib
import mmap
import os
import sys
from typing import Any

import numpy as np

from funcnet.core.trees import map_tree
from funcnet.data.loading.batch_memory import ALIGNMENT
from funcnet.data.workers.shared_memory import address

__all__ = ["PlacedArray", "Slot"]


class PlacedArray:
    """Where in a slot an array lies: what is sent instead of the array."""

    __slots__ = ("dtype", "offset", "shape", "strides")

    def __init__(self, offset: int, array: np.ndarray) -> None:
        self.offset = offset
        self.dtype = array.dtype
        self.shape = array.shape
        self.strides = array.strides


class Slot:
    """A nameless shared file that grows to the largest batch, mapped by both processes.

    One side at a time owns it: the parent from delivery until nobody holds an array of the batch,
    then the worker until it has sent the next one.

    Args:
        fd: the file, closed with the slot.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.busy = False
        self._blocks: list[np.ndarray] = []
        self._used = 0

    def reserve(self, nbytes: int) -> np.ndarray:
        """Make the file at least so long, and return all of it that is mapped."""
        if not self._blocks or self._blocks[-1].nbytes < nbytes:
            # A mapping cannot grow in place, because arrays point into it. The file is mapped anew,
            # and the smaller mappings of the same bytes stay until the batch is done.
            size = os.fstat(self.fd).st_size
            if size < nbytes:
                size = nbytes + nbytes // 4
                os.ftruncate(self.fd, size)
            self._blocks.append(np.frombuffer(mmap.mmap(self.fd, size), np.uint8))
        return self._blocks[-1]

    def begin(self) -> None:
        """Forget the last batch."""
        del self._blocks[:-1]
        self._used = 0

    def __call__(self, nbytes: int) -> tuple[np.ndarray, int]:
        """Allocate part of the slot: this is what batches are collated into."""
        start = self._used
        self._used += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return self.reserve(self._used), start

    @property
    def used(self) -> int:
        """How many bytes the batch takes."""
        return self._used

    @property
    def held(self) -> bool:
        """Whether anybody still has an array of the last batch.

        Every array over a block, a slice of it and a JAX array that aliases it refer to the block,
        directly or through one another: if nobody but this slot does, the memory is free.
        """
        return any(sys.getrefcount(block) > _UNHELD for block in self._blocks)

    def place(self, tree: Any) -> Any:
        """Replace arrays by where they are in the slot, copying in those that are elsewhere."""
        return map_tree(self._place, tree)

    def _place(self, leaf: Any) -> Any:
        if type(leaf) not in (np.ndarray, np.memmap) or leaf.dtype.hasobject:
            return leaf
        for block in self._blocks:
            # By address, not by `base`: a reshaped or sliced batch lies in the block all the same.
            offset = address(leaf) - address(block)
            if offset >= 0 and offset + leaf.nbytes <= block.nbytes and leaf.flags.c_contiguous:
                return PlacedArray(offset, leaf)
        block, start = self(leaf.nbytes)
        copy = np.ndarray(leaf.shape, leaf.dtype, block, start)
        copy[...] = leaf
        return PlacedArray(start, copy)

    def take(self, tree: Any, used: int, copy: bool) -> Any:
        """Put arrays back where `place` noted them: views of the slot, or copies."""
        self.begin()
        block = self.reserve(used)

        def put(leaf: Any) -> Any:
            if not isinstance(leaf, PlacedArray):
                return leaf
            array = np.ndarray(leaf.shape, leaf.dtype, block, leaf.offset, leaf.strides)
            return array.copy() if copy else array

        return map_tree(put, tree)

    def close(self) -> None:
        """Close the file; arrays that are still held keep their memory."""
        self._blocks.clear()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


def _unheld() -> int:
    """Count the references that `Slot.held` sees to a block that nobody else has.

    The list's entry, the loop's variable and the argument of ``getrefcount`` count, too; how many
    that makes depends on the Python release, so it is measured, in an expression like the one there.
    """
    counts = []

    def count(blocks: list[np.ndarray]) -> bool:
        return any(counts.append(sys.getrefcount(block)) for block in blocks)

    count([np.empty(1, np.uint8)])
    return counts[0]


_UNHELD = _unheld()
