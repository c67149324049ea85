"""`IterableDataset`, and any other iterable, as a stream."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from typing import Any

from funcnet.data.datasets.base import dataset_name
from funcnet.data.streams.base import Reading, Stream, StreamState

__all__ = ["IterableDataset", "IterableStream"]


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

    def iterate(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[Any, StreamState]]:
        """Iterate from the start and skip, or let the iterator go to its own state."""
        yield from _iterate(self, reading, state)

    def length_if_known(self) -> int | None:
        """Return ``len`` if the class defines it."""
        return len(self) if isinstance(self, Sized) else None

    def __repr__(self) -> str:
        # Without an address, so that messages are the same in each run.
        return f"{type(self).__name__}()"


class IterableStream(Stream):
    """Any iterable, as a stream."""

    def __init__(self, iterable: Iterable[Any]) -> None:
        self.iterable = iterable
        self._used: int | None = None  # the epoch that an iterator was used in

    def iterate(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[Any, StreamState]]:
        """Iterate from the start and skip, or let the iterator go to its own state.

        Raises:
            TypeError: an iterator, which an epoch before has used up: it would be an epoch of nothing.
        """
        used = self._used not in (None, reading.epoch)
        for sample in _iterate(self.iterable, reading, state):
            used, self._used = False, reading.epoch
            yield sample
        if used and state is None and hasattr(self.iterable, "__next__"):
            raise TypeError(
                "the dataset is an iterator, which is used up after one epoch; pass a list of it, or an"
                " object whose __iter__ begins anew"
            )

    def length_if_known(self) -> int | None:
        """Return ``len`` of the iterable if it has one."""
        return len(self.iterable) if isinstance(self.iterable, Sized) else None

    def __repr__(self) -> str:
        return dataset_name(self.iterable)


def _iterate(
    iterable: Iterable[Any], reading: Reading, state: StreamState | None
) -> Iterator[tuple[Any, StreamState]]:
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
