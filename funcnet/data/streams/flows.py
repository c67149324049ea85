"""What is done with each sample on its own: `map`, `filter` and `flat_map` on datasets and streams.

They depend on one source sample at a time, so workers compute them in parallel. Over a dataset with
random access workers read the samples, too, and the state is (position in the source's order,
samples of it already given). What can only be iterated is read by one thread.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from funcnet.data.datasets.base import describe, read
from funcnet.data.loading.errors import sample_error
from funcnet.data.order.permutation import Permutation, Sequential
from funcnet.data.order.plan import BatchPlan, Task
from funcnet.data.order.randomness import Draw, Step
from funcnet.data.streams.iterable import Computed, Plain, Reading, State, Stream

__all__ = ["ChainDataset", "Flow", "Piped", "apply", "as_stream", "filter", "flat_map"]


def _expand(kind: str, step: Step, sample: Any, draw: Draw) -> Iterable[Any]:
    result = step(sample, draw)
    if kind == "flat_map":
        return result
    if kind == "filter":
        return [sample] if result else []
    return [result]


def _expanded(sample: Any, steps: Sequence[tuple[str, Step]], draw: Draw) -> list[Any]:
    samples = [sample]
    for kind, step in steps:
        samples = [made for sample in samples for made in _expand(kind, step, sample, draw)]
    return samples


def _described(shown: str, steps: Sequence[tuple[str, Step]]) -> str:
    for kind, step in steps:
        shown = f"{kind}({shown}, {step.name})"
    return shown


class Flow(Computed):
    """A dataset with random access, and what is done with each sample of it on its own."""

    def __init__(self, dataset: Any, steps: Sequence[tuple[str, Step]] = ()) -> None:
        self.dataset = dataset
        self.steps = list(steps)

    @property
    def flow(self) -> "Flow":
        """Itself."""
        return self

    def expand(self, source: int, draw: Draw) -> list[Any]:
        """Compute the samples that one source sample becomes."""
        return _expanded(read(self.dataset, source, draw), self.steps, draw)

    def iterate(self, reading: Reading, state: State | None) -> Iterator[tuple[Any, State]]:
        """Go through the source in the reading's order."""
        position, skip = (state["position"], state["offset"]) if state else (0, 0)
        length = len(self.dataset)
        if reading.shuffle:
            order = Permutation(length, reading.seed, reading.epoch)
        else:
            order = Sequential(length)
        plan = BatchPlan(order, reading.chunk, "keep", (0, 1), length, reading.epoch, reading.seed)
        for task, groups in reading.run(self, plan.tasks(position)):
            for source, group in enumerate(groups, task.start):
                for offset, sample in enumerate(group[skip:], skip + 1):
                    yield sample, {"position": source, "offset": offset}
                skip = 0

    def __repr__(self) -> str:
        return _described(describe(self.dataset), self.steps)


class Piped(Computed):
    """A stream that can only be read in order, and what is done with each sample of it on its own.

    The samples are read where the loader is; workers compute the steps.
    """

    def __init__(self, stream: Stream, steps: Sequence[tuple[str, Step]] = ()) -> None:
        self.stream = stream
        self.steps = list(steps)

    @property
    def flow(self) -> Computed:
        """What workers compute of the stream inside, or else itself."""
        inner = self.stream.flow
        return self if inner is None else inner

    def expand(self, source: Any, draw: Draw) -> list[Any]:
        """Compute the samples that one sample of the stream becomes."""
        return _expanded(source, self.steps, draw)

    def iterate(self, reading: Reading, state: State | None) -> Iterator[tuple[Any, State]]:
        """Go through the stream; what is given out of one sample's results is counted."""
        skip = state["offset"] if state else 0
        for count, before, group in self._groups(reading, state):
            for offset, made in enumerate(group[skip:], skip + 1):
                yield made, {"inner": before, "offset": offset, "count": count}
            skip = 0

    def _groups(
        self, reading: Reading, state: State | None
    ) -> Iterator[tuple[int, State | None, list[Any]]]:
        """Yield each sample's number, the state before it, and what it becomes."""
        before, count = (state["inner"], state["count"]) if state else (None, 0)
        source = self.stream.iterate(reading, before)
        if reading.workers is not self:
            for sample, after in source:
                draw = Draw(reading.seed, reading.epoch, count)
                try:
                    group = self.expand(sample, draw)
                except Exception as error:
                    raise sample_error(repr(self), draw, error) from error
                yield count, before, group
                before, count = after, count + 1
            return
        befores: deque[State | None] = deque([before])

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

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes get the steps; what cannot be read twice stays here."""
        return {"stream": _Elsewhere(repr(self.stream)), "steps": self.steps}

    def __repr__(self) -> str:
        return _described(repr(self.stream), self.steps)


def _chunks(source: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Cut into lists; where reading fails, what was read before it comes first."""
    while True:
        read, failure = [], None
        try:
            for item in islice(source, size):
                read.append(item)  # `extend` might lose what it had when it fails
        except Exception as error:
            failure = error
        if read:
            yield read
        if failure is not None:
            raise failure
        if len(read) < size:
            return


class _Elsewhere:
    """What a worker knows of the stream that it is given samples of: how it is called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class ChainDataset(Stream):
    """Streams one after the other.

    Args:
        datasets: streams, iterables or datasets; read in the given order, never shuffled.

    Example:
        >>> list(data.ChainDataset([iter([1, 2]), [3]]))
        [1, 2, 3]
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = [as_stream(dataset) for dataset in datasets]

    def iterate(self, reading: Reading, state: State | None) -> Iterator[tuple[Any, State]]:
        """Go through one after the other."""
        first, inner = (state["which"], state["inner"]) if state else (0, None)
        alone = Reading(reading.seed, reading.epoch, chunk=reading.chunk)
        for which in range(first, len(self.datasets)):
            for sample, after in self.datasets[which].iterate(alone, inner):
                yield sample, {"which": which, "inner": after}
            inner = None

    def __repr__(self) -> str:
        return f"ChainDataset({', '.join(map(repr, self.datasets))})"


def as_stream(dataset: Any) -> Stream:
    """Make a stream of a dataset with random access, of an iterable, or of a stream.

    >>> from funcnet.data.streams.flows import as_stream
    >>> list(as_stream("abc"))
    ['a', 'b', 'c']
    """
    if isinstance(dataset, Stream):
        return dataset
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        return Flow(dataset)
    if hasattr(dataset, "__iter__"):
        return Plain(dataset)
    raise TypeError(
        "a dataset needs __len__ and __getitem__, or __iter__; got an object of type"
        f" {type(dataset).__name__}"
    )


def apply(dataset: Any, step: Step, kind: str) -> Stream:
    """Add a step of one kind (``"map"``, ``"filter"``, ``"flat_map"``) to a dataset or stream.

    >>> from funcnet.data.streams.flows import Step, apply
    >>> list(apply([1, 2], Step(lambda x: [x] * x), "flat_map"))
    [1, 2, 2]
    """
    stream = as_stream(dataset)
    if isinstance(stream, Flow):
        return Flow(stream.dataset, [*stream.steps, (kind, step)])
    if isinstance(stream, Piped):
        return Piped(stream.stream, [*stream.steps, (kind, step)])
    return Piped(stream, [(kind, step)])


def filter(dataset: Any, predicate: Callable[..., Any]) -> Stream:
    """Keep the samples for which a function returns true.

    Args:
        dataset: any dataset or stream.
        predicate: ``predicate(sample)`` or ``predicate(sample, rng)``.

    Returns:
        A stream: how long it is, only reading tells. To have a length and global random access,
        compute the indices once and use `Subset`.

    Example:
        >>> list(data.filter(range(6), lambda x: x % 2 == 0))
        [0, 2, 4]
    """
    return apply(dataset, Step(predicate), "filter")


def flat_map(dataset: Any, function: Callable[..., Iterable[Any]]) -> Stream:
    """Replace each sample by any number of samples.

    Args:
        dataset: any dataset or stream.
        function: ``function(sample)`` or ``function(sample, rng)``, returning an iterable.

    Returns:
        A stream.

    Example:
        >>> list(data.flat_map(["a b", "c"], str.split))
        ['a', 'b', 'c']
    """
    return apply(dataset, Step(function), "flat_map")
