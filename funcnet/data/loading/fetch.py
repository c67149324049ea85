"""Making one batch: read the samples, transform and collate them. Every worker runs this."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from funcnet.data.datasets.base import Derived, describe, read
from funcnet.data.datasets.lazy import Map
from funcnet.data.loading.buffers import Allocate
from funcnet.data.loading.collate import collate
from funcnet.data.loading.errors import sample_error
from funcnet.data.order.plan import Task
from funcnet.data.order.randomness import Draw, Step
from funcnet.data.streams.iterable import Computed

__all__ = ["Expander", "Fetcher", "Finisher", "Made", "Seconds"]


class Seconds(NamedTuple):
    """Where the time of one batch went."""

    read: float = 0.0
    transform: float = 0.0
    collate: float = 0.0


class Made(NamedTuple):
    """What a worker made of a task."""

    value: Any
    seconds: Seconds


class Finisher:
    """The last steps of a batch: collate its samples, transform it whole, mark its padding."""

    def __init__(
        self,
        collate: Callable[[list[Any]], Any] | None = None,
        steps: Sequence[Step] = (),
        pad: bool = False,
        shard: int = 0,
    ) -> None:
        self.collate = collate
        self.steps = list(steps)
        self.pad = pad
        self.shard = shard
        self.idle = not self.steps and not pad
        """Whether nothing is left to do for a batch that is collated."""

    def collated(self, samples: list[Any], allocate: Allocate) -> Any:
        """Make a batch of samples."""
        return collate(samples, allocate) if self.collate is None else self.collate(samples)

    def finish(self, batch: Any, task: Task) -> Any:
        """Apply the batch transforms, and add which rows are real if batches are padded."""
        if self.steps:
            draw = Draw(task.seed, task.epoch, task.start, 1 + self.shard)
            for step in self.steps:
                batch = step(batch, draw)
        if not self.pad:
            return batch
        valid = np.arange(len(task.indices)) < len(task.indices) - task.padding
        if isinstance(batch, dict):
            return {**batch, "valid": valid}
        return (*batch, valid) if type(batch) is tuple else (batch, valid)


class Fetcher:
    """Turn tasks into batches.

    Args:
        dataset: with ``gather(indices, allocate)`` whole batches are read at once, otherwise with
            ``__getitems__(indices)`` whole lists of samples, otherwise one sample after the other.
        steps: transforms of a sample.
        finisher: what makes a batch of the samples.
    """

    def __init__(self, dataset: Any, steps: Sequence[Step], finisher: Finisher) -> None:
        self.dataset = dataset
        self.steps = list(steps)
        self.finisher = finisher
        while isinstance(dataset, Map):
            self.steps.insert(0, dataset.step)
            dataset = dataset.dataset
        self.source = dataset
        self.untouched = not self.steps and finisher.collate is None

    def __call__(self, task: Task, allocate: Allocate) -> Made:
        """Make the batch of a task, in memory that `allocate` gives where it can be used."""
        begin = perf_counter()
        gather = getattr(self.source, "gather", None) if self.untouched else None
        if gather is None:
            samples, transform = self._samples(task)
            done = perf_counter()
            batch = self.finisher.collated(samples, allocate)
        else:
            batch, transform = gather(task.indices, allocate), 0.0
            if self.finisher.idle:
                return Made(batch, Seconds(perf_counter() - begin))
            done = perf_counter()
        batch = self.finisher.finish(batch, task)
        return Made(batch, Seconds(done - begin - transform, transform, perf_counter() - done))

    def _samples(self, task: Task) -> tuple[list[Any], float]:
        indices = task.indices.tolist()
        many = None
        if not isinstance(self.source, Derived) and hasattr(self.source, "__getitems__"):
            many = self.source.__getitems__(indices)
        samples, transform = [], 0.0
        for row, index in enumerate(indices):
            draw = Draw(task.seed, task.epoch, index)
            try:
                sample = read(self.source, index, draw) if many is None else many[row]
                begin = perf_counter()
                for step in self.steps:
                    sample = step(sample, draw)
                transform += perf_counter() - begin
            except Exception as error:
                raise sample_error(describe(self.dataset), draw, error) from error
            samples.append(sample)
        return samples, transform


class Expander:
    """Compute the samples that each source sample of a flow becomes: a list for each."""

    def __init__(self, flow: Computed) -> None:
        self.flow = flow

    def __call__(self, task: Task, allocate: Allocate) -> Made:
        """Compute the lists of a task; reading and transforming count together."""
        begin = perf_counter()
        groups = []
        indices = task.indices.tolist()
        for index, given in zip(indices, task.samples or indices, strict=True):
            draw = Draw(task.seed, task.epoch, index)
            try:
                groups.append(self.flow.expand(given, draw))
            except Exception as error:
                raise sample_error(repr(self.flow), draw, error) from error
        return Made(groups, Seconds(read=perf_counter() - begin))
