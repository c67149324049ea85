"""Memory for batches: aligned so that JAX takes it without a copy, reused when nobody holds it.

A batch is one block with its arrays laid out in it at multiples of 64 bytes. Every array of the
batch keeps the block alive; so does a JAX array that aliases one. A block whose reference count
shows that no such array is left can safely be written again, which saves the page faults of fresh
memory.
"""

import sys
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

__all__ = ["ALIGNMENT", "Allocate", "Layout", "Recycler", "Spare", "fresh"]

ALIGNMENT = 64
"""Bytes: the alignment at which JAX on CPU uses NumPy memory in place."""

Allocate: TypeAlias = Callable[[int], tuple[np.ndarray, int]]
"""``allocate(nbytes) -> (block, start)``: a uint8 array, and where its aligned bytes begin."""


class Layout:
    """Where the arrays of a batch lie in one block.

    Args:
        arrays: the ``(dtype, shape)`` of each array, in order.

    Example:
        >>> from funcnet.data.loading.buffers import Layout, fresh
        >>> layout = Layout([("uint8", (2, 3)), ("float32", (2,))])
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
        return [
            np.ndarray(shape, dtype, block, start + offset) for dtype, shape, offset in self.arrays
        ]


def fresh(nbytes: int) -> tuple[np.ndarray, int]:
    """Allocate a new block with ``nbytes`` aligned bytes.

    >>> from funcnet.data.loading.buffers import fresh
    >>> block, start = fresh(100)
    >>> (block.ctypes.data + start) % 64
    0
    """
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    return block, -block.ctypes.data % ALIGNMENT


class Recycler:
    """An allocator that hands a block out again once no array of its batch is alive.

    One recycler belongs to one thread. Blocks in use are never touched: if all are, memory is
    fresh.

    Args:
        capacity: how many blocks to remember.

    Example:
        >>> from funcnet.data.loading.buffers import Layout, Recycler
        >>> layout, allocate = Layout([("float32", (4,))]), Recycler()
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
        for block, start in self._blocks:
            if nbytes <= block.nbytes - ALIGNMENT and sys.getrefcount(block) <= _UNHELD:
                return block, start
        entry = fresh(nbytes)
        if len(self._blocks) < self._capacity:
            self._blocks.append(entry)
        elif self._blocks:
            self._blocks[self._next] = entry
            self._next = (self._next + 1) % self._capacity
        return entry


class Spare:
    """Recyclers between two uses: an epoch writes its batches into the memory of the last one.

    Args:
        capacity: blocks of each recycler.

    Example:
        >>> from funcnet.data.loading.buffers import Spare
        >>> spare = Spare(2)
        >>> first = spare.take()
        >>> spare.give(first)
        >>> spare.take() is first
        True
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._recyclers: list[Recycler] = []

    def take(self) -> Recycler:
        """Return a recycler that nobody uses."""
        try:
            return self._recyclers.pop()
        except IndexError:
            return Recycler(self._capacity)

    def give(self, recycler: Recycler) -> None:
        """Give a recycler back: only the thread that used it knows when."""
        self._recyclers.append(recycler)


def _unheld() -> int:
    """Count the references that a loop like the recycler's sees to a block that nobody holds."""
    for block, _ in [fresh(0)]:
        return sys.getrefcount(block)
    raise AssertionError("unreachable")


_UNHELD = _unheld()
