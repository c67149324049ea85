"""Streams over what can only be read in order: read in one place, transformed by workers."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from funcnet.data.order.batch_plan import Task
from funcnet.data.order.sample_rng import SampleRng
from funcnet.data.streams.base import (
    ParallelStream,
    Reading,
    Stream,
    StreamState,
    StreamTransform,
)

__all__ = ["SequentialStream"]


class SequentialStream(ParallelStream):
    """The samples of a stream that can only be read in order, each transformed on its own.

    The samples are read where the loader is; workers only transform them.

    Args:
        stream: the source.
        transforms: what is done with each sample of it.
    """

    def __init__(self, stream: Stream, transforms: Sequence[StreamTransform] = ()) -> None:
        super().__init__(transforms)
        self.stream = stream

    @property
    def parallel_part(self) -> ParallelStream:
        """What workers do of the stream inside, or else itself."""
        inner = self.stream.parallel_part
        return self if inner is None else inner

    def expand(self, source: Any, sample_rng: SampleRng) -> list[Any]:
        """Transform a source sample."""
        return self.transformed(source, sample_rng)

    def iterate(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[Any, StreamState]]:
        """Go through the stream; what is given out of one source sample's results is counted."""
        skip = state["offset"] if state else 0
        for count, before, group in self._groups(reading, state):
            for offset, sample in enumerate(group[skip:], skip + 1):
                yield sample, {"inner": before, "offset": offset, "count": count}
            skip = 0

    def _groups(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[int, StreamState | None, list[Any]]]:
        """Yield each source sample's number, the state before it, and what it becomes."""
        before, count = (state["inner"], state["count"]) if state else (None, 0)
        source = self.stream.iterate(reading, before)
        if reading.on_workers is not self:
            for sample, after in source:
                sample_rng = SampleRng(reading.seed, reading.epoch, count)
                yield count, before, self.expanded(sample, sample_rng)
                before, count = after, count + 1
            return
        # Workers are ahead of what is given out, and the source is ahead of the workers: its states
        # wait here until the results that belong to them come back.
        befores: deque[StreamState | None] = deque([before])

        def tasks() -> Iterator[Task]:
            start = count
            for pairs in _chunks(source, reading.chunk):
                befores.extend(after for _, after in pairs)
                stop, samples = start + len(pairs), [sample for sample, _ in pairs]
                numbers = np.arange(start, stop)
                yield Task(numbers, start, stop, reading.epoch, reading.seed, 0, samples)
                start = stop

        for task, groups in reading.run(self, tasks()):
            for count, group in enumerate(groups, task.start):
                yield count, befores.popleft(), group

    def length_if_known(self) -> int | None:
        """Return the length of the source, unless transforms change it."""
        return self.stream.length_if_known() if self.keeps_length else None

    def position_kind(self) -> str:
        """Name the source, and the transforms that change how many samples there are."""
        return self.kind_over(self.stream.position_kind())

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes get the transforms; what cannot be read twice stays here."""
        return {"stream": _Elsewhere(repr(self.stream)), "transforms": self.transforms}

    def __repr__(self) -> str:
        return self.described(repr(self.stream))


def _chunks(source: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Cut into lists; where reading fails, what was read before it comes first."""
    while True:
        chunk, failure = [], None
        try:
            for item in islice(source, size):
                chunk.append(item)  # `extend` might lose what it had when it fails
        except Exception as error:
            failure = error
        if chunk:
            yield chunk
        if failure is not None:
            raise failure
        if len(chunk) < size:
            return


class _Elsewhere:
    """What a worker knows of the stream that it is given samples of: how it is called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name
