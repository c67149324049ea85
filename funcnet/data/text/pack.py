"""`pack`: put documents of any length into rows of one length, without losing a token."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from funcnet.core.checks import check_positive
from funcnet.data.loading.errors import Failure
from funcnet.data.streams.as_stream import as_stream
from funcnet.data.streams.base import ParallelStream, Reading, Stream, StreamState

__all__ = ["pack"]


class _Row:
    """A row being filled."""

    def __init__(self, length: int, pad: int) -> None:
        self.tokens = np.full(length, pad, np.int32)
        self.segments = np.zeros(length, np.int32)
        self.positions = np.zeros(length, np.int32)
        self.used = 0
        self.documents = 0

    def add(self, tokens: np.ndarray, first: int) -> None:
        self.documents += 1
        part = slice(self.used, self.used + len(tokens))
        self.tokens[part] = tokens
        self.segments[part] = self.documents
        self.positions[part] = np.arange(first, first + len(tokens))
        self.used += len(tokens)

    def sample(self) -> dict[str, np.ndarray]:
        return {"tokens": self.tokens, "segment_ids": self.segments, "positions": self.positions}


class _PackedStream(Stream):
    def __init__(self, stream: Stream, length: int, split: bool, pad: int) -> None:
        self.stream = stream
        self.length = length
        self.split = split
        self.pad = pad

    @property
    def parallel_part(self) -> ParallelStream | None:
        return self.stream.parallel_part

    def iterate(
        self, reading: Reading, state: StreamState | None
    ) -> Iterator[tuple[Any, StreamState]]:
        # A state names the document with which the next row begins: the stream's state before it,
        # and how many of its tokens are in earlier rows.
        before, first = (state["inner"], state["offset"]) if state else (None, 0)
        row = _Row(self.length, self.pad)
        for document, after in self.stream.iterate(reading, before):
            if isinstance(document, Failure):
                yield document, {"inner": before, "offset": first}
                before, first = after, 0
                continue
            tokens = np.asarray(document)
            if tokens.ndim != 1:
                raise ValueError(
                    "pack needs documents that are one-dimensional arrays of tokens; got shape"
                    f" {tokens.shape}"
                )
            while first < len(tokens):
                room = self.length - row.used
                rest = len(tokens) - first
                if row.used and (room == 0 or (not self.split and rest > room)):
                    yield row.sample(), {"inner": before, "offset": first}
                    row = _Row(self.length, self.pad)
                    continue
                row.add(tokens[first : first + room], first)
                first += min(room, rest)
            before, first = after, 0
            if row.used == self.length:
                yield row.sample(), {"inner": before, "offset": 0}
                row = _Row(self.length, self.pad)
        if row.used:
            yield row.sample(), {"inner": before, "offset": 0}

    def position_kind(self) -> str:
        return (
            f"pack({self.stream.position_kind()}, {self.length}{'' if self.split else ', whole'})"
        )

    def __repr__(self) -> str:
        return f"pack({self.stream!r}, {self.length})"


def pack(dataset: Any, length: int, *, split: bool = True, pad: int = 0) -> Stream:
    """Pack documents into rows of a fixed number of tokens.

    Args:
        dataset: a dataset or stream of documents, each a one-dimensional array of tokens.
        length: tokens a row.
        split: fill every row, cutting documents at its end; otherwise a document begins a new row
            when it does not fit (one longer than a row is still cut).
        pad: the token that fills what is left of a row.

    Returns:
        A stream of ``{"tokens", "segment_ids", "positions"}``, each int32 ``(length,)``. Segments
        count the documents of a row from 1, 0 is padding: two tokens may attend to each other if
        their segments are equal. Positions count within the document, also across a cut.

    Example:
        >>> rows = list(data.pack([np.array([5, 6, 7]), np.array([8, 9])], 4))
        >>> rows[0]["tokens"], rows[0]["segment_ids"]
        (array([5, 6, 7, 8], dtype=int32), array([1, 1, 1, 2], dtype=int32))
        >>> rows[1]["tokens"], rows[1]["positions"]
        (array([9, 0, 0, 0], dtype=int32), array([1, 0, 0, 0], dtype=int32))
    """
    check_positive("length", length)
    return _PackedStream(as_stream(dataset), length, split, pad)
