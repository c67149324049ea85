"""`ChainDataset`: streams one after the other."""

from collections.abc import Iterable, Iterator
from typing import Any

from funcnet.data.streams.as_stream import as_stream
from funcnet.data.streams.base import Reading, Stream, StreamState

__all__ = ["ChainDataset"]


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

    def iterate(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[Any, StreamState]]:
        """Go through one after the other."""
        first, inner = (state["which"], state["inner"]) if state else (0, None)
        alone = Reading(reading.seed, reading.epoch, chunk=reading.chunk)
        for which in range(first, len(self.datasets)):
            for sample, after in self.datasets[which].iterate(alone, inner):
                yield sample, {"which": which, "inner": after}
            inner = None

    def length_if_known(self) -> int | None:
        """Return the sum of the lengths, if all are known."""
        lengths = [stream.length_if_known() for stream in self.datasets]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(lengths) else None

    def position_kind(self) -> str:
        """Name the streams."""
        return f"chain({', '.join(stream.position_kind() for stream in self.datasets)})"

    def __repr__(self) -> str:
        return f"ChainDataset({', '.join(map(repr, self.datasets))})"
