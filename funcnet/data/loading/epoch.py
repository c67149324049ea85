"""The iterator over one epoch's batches, and the position that it keeps up to date."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from funcnet.data.loading.errors import Failure
from funcnet.data.loading.work import TaskResult
from funcnet.data.streams.base import StreamState

__all__ = ["Batches", "Epoch", "LoaderPosition"]

Batch = TypeVar("Batch")

Batches: TypeAlias = Iterator[tuple[TaskResult | Failure, StreamState]]
"""Each batch, or why it could not be made, with the state after it."""


@dataclass
class LoaderPosition:
    """Where a loader is; shared by the loader and its latest iterator."""

    epoch: int
    state: StreamState


class Epoch(Generic[Batch]):
    """An iterator over what is left of an epoch. Closing it, or dropping it, ends its workers.

    A batch that cannot be made raises; whoever catches that goes on with the batch after it. What
    ends the epoch before its time (a worker that died, a source that failed) raises at every
    further ``next``: it is never mistaken for the epoch's end.

    Args:
        source: the batches.
        position: of the loader, moved on with each batch that is given out.
        remaining: how many batches are left, where it is known.
        restart: begins the next epoch, if the source was continued and may be at its end.
    """

    def __init__(
        self,
        source: Batches,
        position: LoaderPosition,
        remaining: int | None,
        restart: Callable[[], Batches] | None = None,
    ) -> None:
        self._source = source
        self._position = position
        self._epoch = position.epoch
        self._remaining = remaining
        self._restart = restart
        self._ended = ""

    def __iter__(self) -> "Epoch[Batch]":
        return self

    def __next__(self) -> Batch:
        return self.next_result().value

    def next_result(self) -> TaskResult:
        """Return the next batch with the seconds that went into it."""
        if self._ended:
            raise RuntimeError(
                f"this iteration has ended early, with {self._ended}. Begin another with iter(loader);"
                " load_state_dict(loader.state_dict()) before it goes on after the last batch."
            )
        try:
            result, state = next(self._source)
        except StopIteration:
            if self._restart is None:
                self._finish()
                raise
            self._epoch += 1
            self._source, self._restart = self._restart(), None
            return self.next_result()
        except Exception as error:
            # Its text only: the error itself would keep alive what its traceback refers to.
            self._ended = f"{type(error).__name__}: {error}"
            raise
        self._restart = None
        if self._remaining is not None:
            self._remaining -= 1
        if isinstance(result, Failure):
            # whoever iterates would take it for the end
            if isinstance(result.error, StopIteration):
                raise RuntimeError(
                    "a batch could not be made: collate, a batch transform or the dataset raised"
                    " StopIteration, as next() does of an iterator that is used up"
                ) from result.error
            raise result.error
        self._position.epoch, self._position.state = self._epoch, state
        if self._remaining == 0:
            # Already the next epoch: a position behind the last batch would resume into nothing.
            self._finish()
        return result

    def _finish(self) -> None:
        self._position.epoch, self._position.state = self._epoch + 1, {"position": 0}

    def __length_hint__(self) -> int:
        return max(self._remaining or 0, 0)

    def close(self) -> None:
        """End the workers of this iteration now."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
        self._ended = self._ended or "close()"
