"""Batch plans: which samples make up which batch, from order, batch size and position alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from funcnet.data.order.indices import as_indices
from funcnet.data.order.permutation import Order

__all__ = ["BatchPlan", "ListBatchPlan", "Task"]

_CHUNK = 16384  # indices asked for at a time: so many that the cost of a call is forgotten


class Task(NamedTuple):
    """One batch to make: the indices of its samples and where it lies in the epoch."""

    indices: np.ndarray
    start: int
    """Position in the epoch of the whole batch's first sample, over all hosts."""
    stop: int
    """Position in the epoch after the whole batch."""
    epoch: int
    seed: int
    padding: int
    """How many rows at the end of ``indices`` repeat a sample only to fill the batch."""
    samples: list[Any] | None = None
    """The samples themselves, where they can only be read in order and so have been already."""


@dataclass(frozen=True)
class BatchPlan:
    """Cut an order into batches, and each batch into one part a host.

    Args:
        order: the epoch's indices.
        batch_size: samples a batch, over all hosts.
        last: what to do with an incomplete last batch: ``"keep"``, ``"drop"`` or ``"pad"``.
        shard: ``(index, count)``: which of how many equal parts of every batch is ours.
        length: of the dataset: every index must be below it.
        epoch: passed on to the tasks, for the samples' randomness.
        seed: likewise.
    """

    order: Order
    batch_size: int
    last: str
    shard: tuple[int, int]
    length: int
    epoch: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        count = self.shard[1]
        if count > 1 and self.last == "keep" and len(self.order) % self.batch_size:
            raise ValueError(
                f"{len(self.order)} samples leave an incomplete last batch, which cannot be split over"
                f" {count} shards; pass drop_last=True or pad_last=True"
            )

    def batches(self, position: int = 0) -> int:
        """Count the batches from a position to the end of the epoch."""
        remaining = max(len(self.order) - position, 0)
        full, rest = divmod(remaining, self.batch_size)
        return full + (rest > 0 and self.last != "drop")

    def tasks(self, position: int = 0) -> Iterator[Task]:
        """Yield the tasks from a position to the end of the epoch."""
        size, total = self.batch_size, len(self.order)
        end = total - (total - position) % size if self.last == "drop" else total
        span = max(_CHUNK // size, 1) * size
        for low in range(position, end, span):
            chunk = self._indices(low, min(low + span, end))
            for start in range(low, min(low + span, end), size):
                yield self._task(chunk[start - low : start - low + size], start)

    def _task(self, indices: np.ndarray, start: int) -> Task:
        stop = start + len(indices)
        padding = 0
        if self.last == "pad" and len(indices) < self.batch_size:
            padding = self.batch_size - len(indices)
            indices = np.resize(indices, self.batch_size)
        index, count = self.shard
        if count > 1:
            share = len(indices) // count
            # Padding is at the end of the whole batch: the shards after this one take theirs first.
            padding = min(max(padding - (count - 1 - index) * share, 0), share)
            indices = indices[index * share : (index + 1) * share]
        return Task(indices, start, stop, self.epoch, self.seed, padding)

    def _indices(self, low: int, high: int) -> np.ndarray:
        return _checked(self.order[low:high], self.length)


@dataclass(frozen=True)
class ListBatchPlan:
    """The batches of a batch sampler: here a position counts batches, not samples."""

    lists: Sequence[Any]
    length: int
    epoch: int = 0
    seed: int = 0

    def batches(self, position: int = 0) -> int:
        """Count the batches from a position to the end of the epoch."""
        return max(len(self.lists) - position, 0)

    def tasks(self, position: int = 0) -> Iterator[Task]:
        """Yield the tasks from a position to the end of the epoch."""
        for number in range(position, len(self.lists)):
            indices = _checked(self.lists[number], self.length)
            yield Task(indices, number, number + 1, self.epoch, self.seed, 0)


def _checked(indices: Any, length: int) -> np.ndarray:
    indices = as_indices("the sampler", indices)
    if indices.size and not 0 <= indices.min() <= indices.max() < length:
        raise IndexError(
            f"the sampler must give indices in [0, {length}); got some from {indices.min()} to"
            f" {indices.max()}"
        )
    return indices
