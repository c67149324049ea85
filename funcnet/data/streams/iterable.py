"""Datasets without a length, and how they are read.

Every sample of a stream comes with the small state from which the stream goes on after it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from funcnet.data.datasets.base import describe
from funcnet.data.order.plan import Task
from funcnet.data.order.randomness import Draw

__all__ = ["Computed", "IterableDataset", "Plain", "Reading", "Run", "State", "Stream"]

State = dict[str, Any]
"""Where a stream goes on: a small dict of numbers."""

Run = Callable[["Computed", Iterator[Task]], Iterator[tuple[Task, list[list[Any]]]]]


def _run_here(flow: "Computed", tasks: Iterator[Task]) -> Iterator[tuple[Task, list[list[Any]]]]:
    for task in tasks:
        draws = (Draw(task.seed, task.epoch, index) for index in task.indices.tolist())
        yield task, [flow.expand(draw.key[2], draw) for draw in draws]


@dataclass(frozen=True)
class Reading:
    """How a stream is to be read: its randomness, its order, and who computes its source samples."""

    seed: int = 0
    epoch: int = 0
    shuffle: bool = False
    chunk: int = 32
    run: Run = _run_here
    workers: "Stream | None" = None
    """The part that is computed ahead of time by workers, where it is given samples to compute."""


class Stream(ABC):
    """A dataset that is iterated from a state on."""

    @abstractmethod
    def iterate(self, reading: Reading, state: State | None) -> Iterator[tuple[Any, State]]:
        """Yield each sample after a state (``None``: from the start) with the state after it."""

    @property
    def flow(self) -> "Computed | None":
        """The part that workers can compute in parallel, if there is one."""
        return None

    def __iter__(self) -> Iterator[Any]:
        return (sample for sample, _ in self.iterate(Reading(), None))


class Computed(Stream):
    """A stream whose samples depend on one source sample at a time, so that workers compute them."""

    @abstractmethod
    def expand(self, source: Any, draw: Draw) -> list[Any]:
        """Compute the samples that one source sample becomes."""


class IterableDataset(Stream):
    """A base class for datasets that can only be iterated: define ``__iter__``.

    To resume, a loader iterates again and skips what was already given. An iterator that has
    ``state_dict()`` and ``load_state_dict(state)`` is asked to continue by itself instead. A method
    ``set_epoch(epoch)``, if there is one, is called before each epoch.

    Example:
        >>> class Countdown(data.IterableDataset):
        ...     def __iter__(self):
        ...         return iter([3, 2, 1])
        >>> [batch.tolist() for batch in data.DataLoader(Countdown(), 2)]
        [[3, 2], [1]]
    """

    @abstractmethod
    def __iter__(self) -> Iterator[Any]: ...

    def iterate(self, reading: Reading, state: State | None) -> Iterator[tuple[Any, State]]:
        """Iterate from the start and skip, or let the iterator go to its own state."""
        yield from _iterate(self, reading, state)


class Plain(Stream):
    """Any iterable, as a stream."""

    def __init__(self, iterable: Iterable[Any]) -> None:
        self.iterable = iterable

    def iterate(self, reading: Reading, state: State | None) -> Iterator[tuple[Any, State]]:
        """Iterate from the start and skip, or let the iterator go to its own state."""
        yield from _iterate(self.iterable, reading, state)

    def __repr__(self) -> str:
        return describe(self.iterable)


def _iterate(
    iterable: Iterable[Any], reading: Reading, state: State | None
) -> Iterator[tuple[Any, State]]:
    set_epoch = getattr(iterable, "set_epoch", None)
    if set_epoch is not None:
        set_epoch(reading.epoch)
    iterator: Any = iter(iterable)
    count = state["count"] if state else 0
    stateful = hasattr(iterator, "state_dict") and hasattr(iterator, "load_state_dict")
    if state and stateful:
        iterator.load_state_dict(state["inner"])
    elif count:
        next(islice(iterator, count - 1, count), None)
    for sample in iterator:
        count += 1
        yield sample, {"count": count} | ({"inner": iterator.state_dict()} if stateful else {})
