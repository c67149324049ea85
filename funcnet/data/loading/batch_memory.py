"""Batch memory: aligned so that JAX takes it without a copy, reused when nobody holds it.

A batch is one block of bytes with its arrays laid out in it at multiples of 64 bytes. Every array
of the batch keeps the block alive; so does a JAX array that aliases one. A block whose reference
count shows that no such array is left can safely be written again, which saves the page faults of
fresh memory.
"""

import sys
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

__all__ = ["ALIGNMENT", "Allocate", "BatchLayout", "BatchMemory", "MemoryPool", "fresh"]

ALIGNMENT = 64
"""Bytes: the alignment at which JAX on CPU uses NumPy memory in place."""

Allocate: TypeAlias = Callable[[int], tuple[np.ndarray, int]]
"""``allocate(nbytes) -> (block, start)``: a uint8 array, and where its aligned bytes begin."""


class BatchLayout:
    """Where the arrays of a batch lie in one block.

    Args:
        arrays: the ``(dtype, shape)`` of each array, in order.

    Example:
        >>> from funcnet.data.loading.batch_memory import BatchLayout, fresh
        >>> layout = BatchLayout([("uint8", (2, 3)), ("float32", (2,))])
        >>> [array.shape for array in layout.views(*fresh(layout.nbytes))]
        [(2, 3), (2,)]
    """

    def __init__(self, arrays: Sequence[tuple[Any, tuple[int, ...]]]) -> None:
        self.arrays: list[tuple[np.dtype, tuple[int, ...], int]] = []
        offset = 0
        for dtype, shape in arrays:
            dtype = np.dtype(dtype)
            self.arrays.append((dtype, shape, offset))
            offset += -(-prod(shape) * dtype.itemsize // ALIGNMENT) * ALIGNMENT
        self.nbytes = offset

    def views(self, block: np.ndarray, start: int = 0) -> list[np.ndarray]:
        """Make the arrays over a block of at least ``nbytes`` after ``start``."""
        # Each array refers to the block, and so does all that is ever made of the array: that is
        # what `BatchMemory` counts.
        return [
            np.ndarray(shape, dtype, block, start + offset) for dtype, shape, offset in self.arrays
        ]


def fresh(nbytes: int) -> tuple[np.ndarray, int]:
    """Allocate a new block with ``nbytes`` aligned bytes.

    >>> from funcnet.data.loading.batch_memory import fresh
    >>> block, start = fresh(100)
    >>> (block.ctypes.data + start) % 64
    0
    """
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    return block, -block.ctypes.data % ALIGNMENT


class BatchMemory:
    """An allocator that hands a block out again once no array of its batch is alive.

    One of them belongs to one thread. Blocks in use are never touched: if all are, memory is fresh.

    Args:
        capacity: how many blocks to remember.

    Example:
        >>> from funcnet.data.loading.batch_memory import BatchLayout, BatchMemory
        >>> layout, allocate = BatchLayout([("float32", (4,))]), BatchMemory()
        >>> kept = layout.views(*allocate(layout.nbytes))[0]
        >>> other = layout.views(*allocate(layout.nbytes))[0]
        >>> np.shares_memory(kept, other)
        False
    """

    def __init__(self, capacity: int = 4) -> None:
        self._blocks: list[tuple[np.ndarray, int]] = []
        self._capacity = capacity
        self._next = 0

    def __call__(self, nbytes: int) -> tuple[np.ndarray, int]:
        """Return a block that nobody holds, and where its aligned bytes begin."""
        # No lock: a count may be read too high, which costs a fresh block, but never too low. The
        # last reference to a block that is not in a batch is the one in this list, and only this
        # thread makes new ones from it.
        for block, start in self._blocks:
            if nbytes <= block.nbytes - ALIGNMENT and sys.getrefcount(block) <= _UNHELD:
                return block, start
        entry = fresh(nbytes)
        if len(self._blocks) < self._capacity:
            self._blocks.append(entry)
        elif self._blocks:
            # All are held, or too small: forget the one remembered longest. Who holds it keeps it.
            self._blocks[self._next] = entry
            self._next = (self._next + 1) % self._capacity
        return entry


class MemoryPool:
    """Batch memories between two uses: an epoch writes into the memory of the one before.

    Args:
        capacity: blocks of each batch memory.

    Example:
        >>> from funcnet.data.loading.batch_memory import MemoryPool
        >>> pool = MemoryPool(2)
        >>> first = pool.take()
        >>> pool.give_back(first)
        >>> pool.take() is first
        True
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._unused: list[BatchMemory] = []

    def take(self) -> BatchMemory:
        """Return a batch memory that nobody uses."""
        # `pop` and `append` of a list are atomic, so threads need no lock; asking first whether the
        # list is empty would not be.
        try:
            return self._unused.pop()
        except IndexError:
            return BatchMemory(self._capacity)

    def give_back(self, memory: BatchMemory) -> None:
        """Give a batch memory back: only the thread that used it knows when."""
        self._unused.append(memory)


def _unheld() -> int:
    """Count the references that `BatchMemory` sees to a block that nobody else holds.

    The list's entry, the loop's variable and the argument of ``getrefcount`` count, too; how many
    that makes depends on the Python release, so it is measured, in a loop like the one above.
    """
    for block, _ in [fresh(0)]:
        return sys.getrefcount(block)
    raise AssertionError("unreachable")


_UNHELD = _unheld()
