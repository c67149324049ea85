"""What a server allows itself and others."""

import math
from dataclasses import dataclass, fields

__all__ = ["ServerLimits"]


@dataclass(frozen=True)
class ServerLimits:
    """The limits of a server; all are positive.

    Attributes:
        batches: the numbers of rows that programs are compiled for; requests that are joined are padded to the next.
            None: what the artifact was exported for, and powers of two below it where its length is open.
        wait_seconds: how long the first request of a batch waits for others; 0 for what has come already.
        queue: requests that are accepted and not answered yet; further ones are answered 503.
        body_bytes: of one request; larger ones are answered 413.
        queue_bytes: of all bodies that are being read or wait; beyond, 503.
        body_seconds: for a request's body to arrive; slower ones are answered 408.
        answer_seconds: for a request to be answered, counted from its arrival; later, 504.
        programs: that are kept for lengths that were not prepared, such as a new ``time``.

    Example:
        >>> limits = fn.export.ServerLimits(batches=(1, 8), wait_seconds=0.01)
        >>> limits.batches, limits.queue > 0
        ((1, 8), True)
    """

    batches: tuple[int, ...] | None = None
    wait_seconds: float = 0.002
    queue: int = 256
    body_bytes: int = 16 * 2**20
    queue_bytes: int = 256 * 2**20
    body_seconds: float = 10.0
    answer_seconds: float = 30.0
    programs: int = 16

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "batches":
                _check_batches(value)
            elif not _is_allowed(value, least=0 if each.name == "wait_seconds" else 1e-9):
                raise ValueError(f"{each.name} of a server is a positive number, got {value!r}")


def _is_allowed(value: object, least: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= least


def _check_batches(batches: object) -> None:
    if batches is None:
        return
    if not isinstance(batches, tuple) or not batches:
        raise TypeError(
            f"batches is a tuple of numbers of rows, such as (1, 8, 32); got {batches!r}"
        )
    for rows in batches:
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise ValueError(f"a batch has one row at least; got {rows!r} in batches {batches}")
