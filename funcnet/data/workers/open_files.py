"""Open files among the attributes of a dataset: threads that share one read each other's bytes."""

import io
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

__all__ = ["check_no_open_file"]

_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
_DEPTH = 4  # from a dataset to the datasets and transforms inside it
_ITEMS = 64  # of a container that is looked into


def check_no_open_file(work: Any) -> None:
    """Raise if threads would share an open file without a lock.

    Args:
        work: an object; its attributes, and theirs, are looked at.

    Raises:
        ValueError: one holds an open file, and no lock beside it.

    Example:
        >>> from funcnet.data.workers.open_files import check_no_open_file
        >>> check_no_open_file([1, 2])
    """
    for owner, name in _open_files(work, _DEPTH, set()):
        raise ValueError(
            f"{owner}.{name} is an open file, which threads would share: each moves the position that"
            " the others read at. Open the file where a sample is read, read with os.pread(fd, size,"
            " offset), which has no position, keep a threading.Lock beside the file and take it to"
            ' read, or pass workers="process".'
        )


def _open_files(value: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, str]]:
    if depth < 0 or id(value) in seen:
        return
    seen.add(id(value))
    attributes = getattr(value, "__dict__", None)
    if isinstance(value, type) or not isinstance(attributes, dict):
        return
    locked = any(isinstance(attribute, _LOCKS) for attribute in attributes.values())
    for name, attribute in list(attributes.items()):
        if not locked and _has_position(attribute):
            yield type(value).__name__, name
        for inner in _inner(attribute):
            yield from _open_files(inner, depth - 1, seen)


def _has_position(value: Any) -> bool:
    if not isinstance(value, io.IOBase) or value.closed:
        return False
    return value.readable() and value.seekable()  # not a log, not a terminal


def _inner(value: Any) -> list[Any]:
    if isinstance(value, (dict, list, tuple)):
        return list(islice(value.values() if isinstance(value, dict) else value, _ITEMS))
    return [value, getattr(value, "__self__", None)]
