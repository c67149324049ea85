"""The batches of one epoch, from datasets and from streams, each with the position after it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Generic, TypeVar

import numpy as np

from funcnet.data.loading.buffers import Recycler, Spare
from funcnet.data.loading.fetch import Expander, Finisher, Made, Seconds
from funcnet.data.order.plan import BatchPlan, ListPlan, Task
from funcnet.data.streams.flows import Piped
from funcnet.data.streams.iterable import Computed, Reading, State, Stream
from funcnet.data.workers.engine import Engine
from funcnet.data.workers.threads import read_ahead, run_here

__all__ = ["Epoch", "Position", "dataset_batches", "StreamBatches"]

Batch = TypeVar("Batch")


@dataclass
class Position:
    """Where a loader is; shared by the loader and its latest iterator."""

    epoch: int
    state: State


def dataset_batches(
    plan: BatchPlan | ListPlan, engine: Engine, position: int
) -> Iterator[tuple[Made, State]]:
    """Yield the batches of a dataset with random access from a position on."""
    for task, made in engine.run(plan.tasks(position)):
        yield made, {"position": task.stop}
        del made  # so that its memory is free for the next one


@dataclass
class StreamBatches:
    """Collects the samples of a stream into batches.

    Every host goes through the whole stream, and makes batches of its share of the samples.
    """

    stream: Stream
    engine: Engine
    batch_size: int
    last: str
    shard: tuple[int, int]
    finisher: Finisher

    def run(self, reading: Reading, state: State) -> Iterator[tuple[Made, State]]:
        """Yield the batches after a state."""
        self._reading = 0.0
        allocate = Recycler()
        reading = replace(
            reading,
            run=self._run_flow,
            chunk=self.batch_size,
            workers=self.stream.flow if self.engine.num_workers else None,
        )
        start = count = state["position"]
        rows: list[Any] = []
        for sample, after in self.stream.iterate(reading, state.get("stream")):
            rows.append(sample)
            count += 1
            if len(rows) == self.batch_size:
                made = self._make(rows, start, count, reading, allocate)
                yield made, {"position": count, "stream": after}
                del made
                rows, start = [], count
            state = {"position": count, "stream": after}
        if rows and self.last != "drop":
            yield self._make(rows, start, count, reading, allocate), state

    def _run_flow(
        self, flow: Computed, tasks: Iterator[Task]
    ) -> Iterator[tuple[Task, list[list[Any]]]]:
        failures: list[Exception] = []
        if flow is self.stream.flow:
            if isinstance(flow, Piped):
                ahead = read_ahead(tasks, self.engine.prefetch, self.engine.timeout)
                tasks = _until_failure(ahead, failures)
            runs = self.engine.run(tasks)
        else:
            runs = run_here(Expander(flow), tasks, Spare(0))
        for task, made in runs:
            self._reading += made.seconds.read
            yield task, made.value
        if failures:
            raise failures[0]

    def _make(
        self, rows: list[Any], start: int, stop: int, reading: Reading, allocate: Recycler
    ) -> Made:
        begin = perf_counter()
        padding = self.batch_size - len(rows) if self.last == "pad" else 0
        rows = [rows[k % len(rows)] for k in range(len(rows) + padding)]
        index, count = self.shard
        share = len(rows) // count
        rows = rows[index * share : (index + 1) * share]
        padding = min(max(padding - (count - 1 - index) * share, 0), share)
        task = Task(np.arange(share), start, stop, reading.epoch, reading.seed, padding)
        batch = self.finisher.finish(self.finisher.collated(rows, allocate), task)
        read, self._reading = self._reading, 0.0
        return Made(batch, Seconds(read=read, collate=perf_counter() - begin))


def _until_failure(tasks: Iterator[Task], failures: list[Exception]) -> Iterator[Task]:
    """Put off a failure until what was read before it has been given out."""
    try:
        yield from tasks
    except Exception as error:
        failures.append(error)


class Epoch(Generic[Batch]):
    """An iterator over what is left of an epoch. Closing it, or dropping it, ends its workers."""

    def __init__(
        self,
        source: Iterator[tuple[Made, State]],
        position: Position,
        remaining: int | None,
    ) -> None:
        self._source = source
        self._position = position
        self._epoch = position.epoch
        self._remaining = remaining

    def __iter__(self) -> "Epoch[Batch]":
        return self

    def __next__(self) -> Batch:
        return self.made().value

    def made(self) -> Made:
        """Return the next batch with the seconds that went into it."""
        position = self._position
        try:
            made, position.state = next(self._source)
        except StopIteration:
            position.epoch, position.state = self._epoch + 1, {"position": 0}
            raise
        position.epoch = self._epoch
        if self._remaining is not None:
            self._remaining -= 1
        return made

    def __length_hint__(self) -> int:
        return 0 if self._remaining is None else self._remaining

    def close(self) -> None:
        """End the workers of this iteration now."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
