"""Batch samplers: which samples an epoch visits together, as a pure function of (seed, epoch).

A batch sampler has one method, ``batches(seed, epoch)``, which returns a sequence of index arrays.
The loader also takes any iterable of lists of indices, as PyTorch's does.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np

from funcnet.core.checks import check_count, check_positive
from funcnet.data.order.indices import number_vector
from funcnet.data.order.permutation import Permutation
from funcnet.data.order.samplers import as_order

__all__ = ["BatchSampler", "BucketSampler", "as_batches"]


class BatchSampler:
    """Cut a sampler's indices into batches.

    Args:
        sampler: a `Sampler`, or any iterable of indices.
        batch_size: indices a batch.
        drop_last: leave out an incomplete last batch.

    Example:
        >>> [batch.tolist() for batch in data.BatchSampler(range(5), 2, drop_last=False)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        check_count("batch_size", batch_size)
        check_positive("batch_size", batch_size)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def batches(self, seed: int, epoch: int) -> list[np.ndarray]:
        """Return the index arrays of an epoch."""
        order = as_order(self.sampler, seed, epoch)
        end = len(order) - len(order) % self.batch_size if self.drop_last else len(order)
        return [
            np.asarray(order[start : min(start + self.batch_size, end)])
            for start in range(0, end, self.batch_size)
        ]

    def __len__(self) -> int:
        count = len(self.sampler)
        return count // self.batch_size if self.drop_last else ceil(count / self.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.batches(0, 0))


class BucketSampler:
    """Batches of samples of similar length, so that little is padded.

    The shuffled samples are cut into pools of many batches; each pool is sorted by length and cut
    into batches, and the batches of the epoch are shuffled.

    Args:
        lengths: of each sample.
        batch_size: samples a batch.
        max_tokens: instead of ``batch_size``: as many samples as fit when all are padded to the
            longest.
        pool: batches a pool; more means less padding and less randomness.
        drop_last: leave out each pool's incomplete last batch.

    Raises:
        ValueError: both or neither of ``batch_size`` and ``max_tokens`` are given, or a sample
            alone has more than ``max_tokens``.

    Example:
        >>> lengths = np.array([1, 9, 2, 8])
        >>> sorted(sorted(lengths[batch].tolist()) for batch in data.BucketSampler(lengths, 2))
        [[1, 2], [8, 9]]
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        batch_size: int | None = None,
        *,
        max_tokens: int | None = None,
        pool: int = 100,
        drop_last: bool = False,
    ) -> None:
        if (batch_size is None) == (max_tokens is None):
            raise ValueError("BucketSampler needs either batch_size or max_tokens")
        self.lengths = number_vector("lengths", lengths)
        if self.lengths.size and self.lengths.min() < 0:
            raise ValueError(f"lengths must not be negative; got {self.lengths.min()}")
        check_positive("batch_size or max_tokens", batch_size or max_tokens)
        check_positive("pool", pool)
        if max_tokens is not None and self.lengths.size and self.lengths.max() > max_tokens:
            raise ValueError(
                f"max_tokens={max_tokens} must hold the longest sample; got {self.lengths.max()}"
            )
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.pool = pool
        self.drop_last = drop_last

    def batches(self, seed: int, epoch: int) -> list[np.ndarray]:
        """Return the index arrays of an epoch."""
        order = Permutation(len(self.lengths), seed, epoch)[:]
        size = self.batch_size
        if size is None:
            size = max(int((self.max_tokens or 1) / max(self.lengths.mean(), 1)), 1)
        batches = []
        for start in range(0, len(order), size * self.pool):
            pool = order[start : start + size * self.pool]
            batches += self._cut(pool[np.argsort(self.lengths[pool], kind="stable")])
        # The batches take an order of their own, not that of the samples.
        return [batches[k] for k in Permutation(len(batches), seed + 1, epoch)[:].tolist()]

    def _cut(self, pool: np.ndarray) -> list[np.ndarray]:
        if self.batch_size is not None:
            cuts = list(range(self.batch_size, len(pool), self.batch_size))
            parts = np.split(pool, cuts)
            return parts[:-1] if self.drop_last and len(parts[-1]) < self.batch_size else parts
        parts, begin = [], 0
        for end, longest in enumerate(self.lengths[pool].tolist()):
            if (end + 1 - begin) * longest > (self.max_tokens or 0):
                parts.append(pool[begin:end])
                begin = end
        return parts if self.drop_last else [*parts, pool[begin:]]

    def __len__(self) -> int:
        """Count the batches of epoch 0; with ``max_tokens`` other epochs may differ by a few."""
        return len(self.batches(0, 0))

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.batches(0, 0))


def as_batches(sampler: Any, seed: int, epoch: int) -> Sequence[Any]:
    """Return the batches of a batch sampler, or of any iterable of lists of indices.

    >>> from funcnet.data.order.batch_samplers import as_batches
    >>> as_batches([[2, 0], [1]], seed=0, epoch=0)
    [[2, 0], [1]]
    """
    if hasattr(sampler, "batches"):
        return sampler.batches(seed, epoch)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    return list(sampler)
