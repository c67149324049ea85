"""What is done for one task: read samples, transform them, make a batch. Every worker runs this."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from funcnet.data.datasets.base import DerivedDataset, dataset_name, read_sample
from funcnet.data.datasets.map import MappedDataset
from funcnet.data.datasets.transform import Transform, owned
from funcnet.data.devices.padding import mark_rows
from funcnet.data.loading.batch_memory import Allocate
from funcnet.data.loading.collate import collate
from funcnet.data.loading.errors import Failure, sample_error
from funcnet.data.loading.padding import PaddingCollate, pad
from funcnet.data.order.batch_plan import Task
from funcnet.data.order.sample_rng import SampleRng
from funcnet.data.streams.base import ParallelStream

__all__ = ["BatchFinisher", "BatchWork", "Seconds", "StreamWork", "TaskResult"]


class Seconds(NamedTuple):
    """Where the time of one batch went."""

    read: float = 0.0
    transform: float = 0.0
    collate: float = 0.0


class TaskResult(NamedTuple):
    """What was made for a task, and how long it took."""

    value: Any
    seconds: Seconds
    failed: bool = False
    """Whether a `Failure` is among the samples of the value."""


class BatchFinisher:
    """The last steps of a batch: collate its samples, transform it whole, mark its padding.

    Args:
        collate: ``collate(samples)`` instead of `data.collate`.
        transforms: of whole batches.
        mark: whether to say in each batch which rows are real.
        shard: the number of this host, so that the parts of one batch have generators of their own.
    """

    def __init__(
        self,
        collate: Callable[[list[Any]], Any] | None = None,
        transforms: Sequence[Transform] = (),
        mark: bool = False,
        shard: int = 0,
    ) -> None:
        if collate is pad:
            raise TypeError("data.pad makes a collate: write collate=data.pad()")
        self.collate = collate
        self.transforms = list(transforms)
        self.mark = mark
        self.shard = shard
        self.idle = not self.transforms and not mark
        """Whether nothing is left to do for a batch that is collated."""
        self.in_place = collate is None or isinstance(collate, PaddingCollate)
        """Whether batches are written into the memory that is given for them."""
        self.plain = self.in_place and not self.transforms
        """Whether a batch has a row for each of its samples."""

    def collated(self, samples: list[Any], allocate: Allocate) -> Any:
        """Make a batch of samples."""
        if self.collate is None or isinstance(self.collate, PaddingCollate):
            return (self.collate or collate)(samples, allocate)
        return self.collate(samples)

    def finish(self, batch: Any, task: Task) -> Any:
        """Apply the batch transforms, and add which rows are real if batches are padded."""
        if self.transforms:
            batch_rng = SampleRng(task.seed, task.epoch, task.start, 1 + self.shard)
            for transform in self.transforms:
                batch = transform(batch, batch_rng)
        if not self.mark:
            return batch
        valid = np.arange(len(task.indices)) < len(task.indices) - task.padding
        return mark_rows(batch, valid)


class BatchWork:
    """Make the batch of a task from a dataset with indices.

    Args:
        dataset: with ``gather(indices, allocate)`` whole batches are read at once, otherwise with
            ``__getitems__(indices)`` whole lists of samples, otherwise one sample after the other.
        transforms: of a sample.
        finisher: what makes a batch of the samples.
    """

    def __init__(
        self, dataset: Any, transforms: Sequence[Transform], finisher: BatchFinisher
    ) -> None:
        self.dataset = dataset
        self.transforms = list(transforms)
        self.finisher = finisher
        # What `map` does joins the loader's transforms: so the dataset below it may still read many
        # samples at once, and the profile tells reading from transforming.
        while isinstance(dataset, MappedDataset):
            self.transforms.insert(0, dataset.transform)
            dataset = dataset.dataset
        self.source = dataset
        self.untouched = not self.transforms and finisher.collate is None
        """Whether a batch may be read at once, because nothing is done with its samples."""

    def __call__(self, task: Task, allocate: Allocate) -> TaskResult:
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
                return TaskResult(batch, Seconds(perf_counter() - begin))
            done = perf_counter()
        batch = self.finisher.finish(batch, task)
        seconds = Seconds(done - begin - transform, transform, perf_counter() - done)
        return TaskResult(batch, seconds)

    def _samples(self, task: Task) -> tuple[list[Any], float]:
        """Read and transform the samples of a task; say how long the transforms took."""
        indices = task.indices.tolist()
        many = None
        if not isinstance(self.source, DerivedDataset) and hasattr(self.source, "__getitems__"):
            many = self.source.__getitems__(indices)
        samples, seconds = [], 0.0
        for row, index in enumerate(indices):
            sample_rng = SampleRng(task.seed, task.epoch, index)
            try:
                sample = read_sample(self.source, index, sample_rng) if many is None else many[row]
                if not self.untouched:
                    sample = owned(sample)
                begin = perf_counter()
                for transform in self.transforms:
                    sample = transform(sample, sample_rng)
                seconds += perf_counter() - begin
            except Exception as error:
                raise sample_error(dataset_name(self.dataset), sample_rng, error) from error
            samples.append(sample)
        return samples, seconds


class StreamWork:
    """Make the samples that each source sample of a task becomes: a list for each.

    They become batches where the loader is, because nobody knows beforehand how many there are.

    Args:
        stream: the part of a stream that workers do.
    """

    def __init__(self, stream: ParallelStream) -> None:
        self.stream = stream

    def __call__(self, task: Task, allocate: Allocate) -> TaskResult:
        """Make the lists of a task; reading and transforming count together."""
        begin = perf_counter()
        indices = task.indices.tolist()
        sources = task.samples or indices
        groups = [
            self.stream.expanded(source, SampleRng(task.seed, task.epoch, index))
            for index, source in zip(indices, sources, strict=True)
        ]
        failed = any(isinstance(sample, Failure) for group in groups for sample in group)
        return TaskResult(groups, Seconds(read=perf_counter() - begin), failed)
