"""The batches of one epoch, from datasets and from streams, each with the state after it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from funcnet.data.loading.batch_memory import BatchMemory, MemoryPool
from funcnet.data.loading.epoch import Batches
from funcnet.data.loading.errors import Failure
from funcnet.data.loading.work import BatchFinisher, Seconds, StreamWork, TaskResult
from funcnet.data.order.batch_plan import BatchPlan, ListBatchPlan, Task
from funcnet.data.streams.base import ParallelStream, Reading, Stream, StreamState
from funcnet.data.streams.sequential import SequentialStream
from funcnet.data.workers.runner import TaskRunner
from funcnet.data.workers.threads import read_ahead, run_here

__all__ = ["StreamBatches", "dataset_batches"]


def dataset_batches(plan: BatchPlan | ListBatchPlan, runner: TaskRunner, position: int) -> Batches:
    """Yield the batches of a dataset with indices from a position on, each with the one after it."""
    for task, result in runner.run(plan.tasks(position)):
        yield result, {"position": task.stop}
        # No reference may stay in this frame while the next batch is made: the memory of this one is
        # written again only when nobody refers to it.
        del result


@dataclass
class StreamBatches:
    """Collects the samples of a stream into batches.

    Every host goes through the whole stream, and makes batches of its share of the samples.
    """

    stream: Stream
    runner: TaskRunner
    batch_size: int
    last: str
    shard: tuple[int, int]
    finisher: BatchFinisher

    def run(self, reading: Reading, state: StreamState) -> Batches:
        """Yield the batches after a state."""
        self._seconds_read = 0.0
        allocate = BatchMemory()
        reading = replace(
            reading,
            run=self._run_tasks,
            chunk=self.batch_size,
            on_workers=self.stream.parallel_part if self.runner.num_workers else None,
        )
        start = count = state["position"]
        samples: list[Any] = []
        for sample, after in self.stream.iterate(reading, state.get("inner")):
            if isinstance(sample, Failure):
                yield sample, state
                continue
            samples.append(sample)
            count += 1
            if len(samples) == self.batch_size:
                result = self._batch(samples, start, count, reading, allocate)
                yield result, {"position": count, "inner": after}
                del result  # see `dataset_batches`
                samples, start = [], count
            state = {"position": count, "inner": after}
        if samples and self.last != "drop":
            yield self._batch(samples, start, count, reading, allocate), state

    def _run_tasks(
        self, stream: ParallelStream, tasks: Iterator[Task]
    ) -> Iterator[tuple[Task, list[list[Any]]]]:
        failures: list[Exception] = []
        if stream is self.stream.parallel_part:
            if isinstance(stream, SequentialStream):
                ahead = read_ahead(tasks, self.runner.prefetch, self.runner.timeout)
                tasks = _until_failure(ahead, failures)
            results = self.runner.run(tasks)
        else:
            # A stream in a mixture or a chain: workers know the work of one stream only.
            results = run_here(StreamWork(stream), tasks, MemoryPool(0))
        for task, result in results:
            if isinstance(result, Failure):  # of the task as a whole: its samples cannot be sent
                yield task, [[result], *([] for _ in task.indices[1:])]
                continue
            self._seconds_read += result.seconds.read
            yield task, result.value
        if failures:
            raise failures[0]

    def _batch(
        self, samples: list[Any], start: int, stop: int, reading: Reading, allocate: BatchMemory
    ) -> TaskResult:
        begin = perf_counter()
        padding = self.batch_size - len(samples) if self.last == "pad" else 0
        samples = [samples[k % len(samples)] for k in range(len(samples) + padding)]
        index, count = self.shard
        share = len(samples) // count
        samples = samples[index * share : (index + 1) * share]
        # Padding is at the end of the whole batch: the shards after this one take theirs first.
        padding = min(max(padding - (count - 1 - index) * share, 0), share)
        task = Task(np.arange(share), start, stop, reading.epoch, reading.seed, padding)
        batch = self.finisher.finish(self.finisher.collated(samples, allocate), task)
        read, self._seconds_read = self._seconds_read, 0.0
        return TaskResult(batch, Seconds(read=read, collate=perf_counter() - begin))


def _until_failure(tasks: Iterator[Task], failures: list[Exception]) -> Iterator[Task]:
    """Put off a failure until what was read before it has been given out."""
    try:
        yield from tasks
    except Exception as error:
        failures.append(error)
