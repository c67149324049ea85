"""The order of samples: pure functions of (seed, epoch), evaluated for a few positions at a time.

An *order* is anything that acts like a one-dimensional integer array: ``len(order)`` and
``order[start:stop]``. A NumPy array is one; so are `SequentialOrder` and `Permutation`, which hold no
table.
"""

from math import isqrt
from typing import Any, Protocol, runtime_checkable

import numpy as np

from funcnet.core.checks import check_non_negative
from funcnet.data.order.indices import as_indices

__all__ = ["Order", "Permutation", "SequentialOrder", "positions_of"]

_SMALL = 4096  # below this length a table costs nothing, and is exactly uniform
_ROUNDS = 6


@runtime_checkable
class Order(Protocol):
    """What a loader needs to know of an order: its length, and the indices of a slice of it."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Any, /) -> Any: ...


def positions_of(selection: Any, length: int) -> tuple[np.ndarray, bool]:
    """Turn what stands in the brackets into an array of positions, and say if it was one number."""
    if isinstance(selection, slice):
        return np.arange(*selection.indices(length), dtype=np.intp), False
    scalar = np.ndim(selection) == 0
    positions = as_indices("an order", np.atleast_1d(selection))
    positions = np.where(positions < 0, positions + length, positions)
    if positions.size and not 0 <= positions.min() <= positions.max() < length:
        raise IndexError(f"position {selection!r} is out of range for an order of length {length}")
    return positions, scalar


class SequentialOrder:
    """The order ``0, 1, 2, …``.

    Args:
        length: how many indices there are.

    Example:
        >>> from funcnet.data.order.permutation import SequentialOrder
        >>> SequentialOrder(10)[3:6]
        array([3, 4, 5])
    """

    def __init__(self, length: int) -> None:
        check_non_negative("length", length)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, selection: Any) -> Any:
        positions, scalar = positions_of(selection, self.length)
        return int(positions[0]) if scalar else positions


class Permutation:
    r"""A random permutation of ``range(length)``, keyed by (seed, epoch), with no table.

    Position ``p`` is written as the pair ``(p // b, p % b)`` with ``a * b >= length`` and both
    factors near the square root; each of six rounds adds to one half a keyed hash of the other,

    .. math:: l \leftarrow (l + F_k(r)) \bmod a, \qquad r \leftarrow (r + F_k(l)) \bmod b,

    which is a bijection of the ``a * b`` pairs. The few results beyond ``length`` go through it
    again until they fall inside. Any index of any length costs the same, so the shuffle is global
    at a hundred million samples. Up to 4,096 samples an exactly uniform table is drawn instead.

    Args:
        length: how many indices are permuted.
        seed: a non-negative integer.
        epoch: a non-negative integer; each gives another permutation.

    Example:
        >>> order = data.Permutation(100_000_000, seed=0, epoch=3)
        >>> order[5:8].shape, len(order)
        ((3,), 100000000)
        >>> sorted(data.Permutation(5, seed=1)[:].tolist())
        [0, 1, 2, 3, 4]

    Reference:
        J. Black and P. Rogaway, "Ciphers with Arbitrary Finite Domains", 2002.
    """

    def __init__(self, length: int, seed: int = 0, epoch: int = 0) -> None:
        check_non_negative("length", length)
        check_non_negative("seed", seed)
        check_non_negative("epoch", epoch)
        self.length = length
        self.seed = seed
        self.epoch = epoch
        entropy = np.random.SeedSequence([seed, epoch])
        self._table: np.ndarray | None = None
        if length <= _SMALL:
            keys = np.random.Philox(entropy).random_raw(length)
            self._table = np.argsort(keys, kind="stable").astype(np.intp)
            return
        self._left = isqrt(length - 1) + 1
        self._right = -(-length // self._left)
        self._dtype = np.dtype(np.uint32 if length <= 2**30 else np.uint64)
        self._keys = entropy.generate_state(_ROUNDS, self._dtype)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, selection: Any) -> Any:
        positions, scalar = positions_of(selection, self.length)
        if self._table is not None:
            return int(self._table[positions[0]]) if scalar else self._table[positions]
        indices = self._permute(positions.astype(self._dtype))
        while (outside := np.flatnonzero(indices >= self._dtype.type(self.length))).size:
            indices[outside] = self._permute(indices[outside])
        indices = indices.astype(np.intp)
        return int(indices[0]) if scalar else indices

    def _permute(self, values: np.ndarray) -> np.ndarray:
        left, right = self._dtype.type(self._left), self._dtype.type(self._right)
        high = values // right
        low = values - high * right
        for key in range(0, _ROUNDS, 2):
            _add_hash(high, low, self._keys[key], left)
            _add_hash(low, high, self._keys[key + 1], right)
        high *= right
        high += low
        return high


def _add_hash(half: np.ndarray, other: np.ndarray, key: np.unsignedinteger, size: Any) -> None:
    """Add to one half, modulo its size, a keyed hash of the other half."""
    wide = half.dtype.itemsize == 8
    # Odd constants with well-mixed bits, of the kind that integer hashes multiply with.
    first, second = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB) if wide else (0x85EBCA6B, 0xC2B2AE35)
    half_bits = half.dtype.type(half.dtype.itemsize * 4)
    mixed = other ^ key
    mixed *= half.dtype.type(first)
    mixed ^= mixed >> half_bits
    mixed *= half.dtype.type(second)
    mixed >>= half_bits  # now below 2**half_bits, and so is `size`: the product fits
    mixed *= size
    mixed >>= half_bits
    half += mixed
    # `half - size` wraps round to a huge number where half < size: the minimum is the remainder.
    np.subtract(half, size, out=mixed)
    np.minimum(half, mixed, out=half)
