"""The iterator over one epoch's batches, and the position that it keeps up to date."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from funcnet.data.loading.work import TaskResult
from funcnet.data.streams.base import StreamState

__all__ = ["Epoch", "LoaderPosition"]

Batch = TypeVar("Batch")


@dataclass
class LoaderPosition:
    """Where a loader is; shared by the loader and its latest iterator."""

    epoch: int
    state: StreamState


class Epoch(Generic[Batch]):
    """An iterator over what is left of an epoch. Closing it, or dropping it, ends its workers.

    Args:
        source: each batch with the state after it.
        position: of the loader, moved on with each batch that is given out.
        remaining: how many batches are left, where it is known.
    """

    def __init__(
        self,
        source: Iterator[tuple[TaskResult, StreamState]],
        position: LoaderPosition,
        remaining: int | None,
    ) -> None:
        self._source = source
        self._position = position
        self._epoch = position.epoch
        self._remaining = remaining

    def __iter__(self) -> "Epoch[Batch]":
        return self

    def __next__(self) -> Batch:
        return self.next_result().value

    def next_result(self) -> TaskResult:
        """Return the next batch with the seconds that went into it."""
        position = self._position
        try:
            result, position.state = next(self._source)
        except StopIteration:
            position.epoch, position.state = self._epoch + 1, {"position": 0}
            raise
        position.epoch = self._epoch
        if self._remaining is not None:
            self._remaining -= 1
        return result

    def __length_hint__(self) -> int:
        return 0 if self._remaining is None else self._remaining

    def close(self) -> None:
        """End the workers of this iteration now."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
