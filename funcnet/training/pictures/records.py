"""What a run reported, from a history or from the log that it left: one dict of numbers a record."""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from funcnet.core.files import as_path
from funcnet.training.loop.history import History

__all__ = ["Records", "Source", "read_records"]

Record = dict[str, float]
Records = list[Record]
Source = History | str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""A history, the path of a log in CSV or JSON Lines, or records."""


def read_records(source: Source) -> Records:
    r"""Read the numbers of each record; what is no number is left out.

    A line that a killed process has cut off at the end of a log is left out, records of one step are joined, and where
    a log goes back to an earlier step, because a run went on from a checkpoint, what it took back is left out.

    Args:
        source: a `History`, a path ending in ``.csv``, ``.jsonl`` or ``.json``, or records.

    Raises:
        TypeError: it is something else.
        ValueError: a log's ending is another one, or it has no records; a line is not JSON.

    Example:
        >>> from funcnet.training.pictures.records import read_records
        >>> with open("log.csv", "w") as file:
        ...     _ = file.write("step,train/loss,note\n10,2.5,begin\n20,nan,\n30,1.")
        >>> read_records("log.csv")
        [{'step': 10.0, 'train/loss': 2.5}, {'step': 20.0, 'train/loss': nan}]
    """
    if isinstance(source, History):
        rows: Iterable[Any] = source.records
    elif isinstance(source, str | os.PathLike):
        rows = _logged(as_path(source))
    else:
        rows = source
    try:
        return _in_order([_numbers(row) for row in rows])
    except (TypeError, AttributeError):
        raise TypeError(
            "expected a History, the path of a log (.csv, .jsonl), records, or a dict of those by name, such as "
            f"{{'small': history, 'large': 'runs/large/log.csv'}}; got {type(source).__name__}"
        ) from None


def _logged(path: Path) -> list[Mapping[str, Any]]:
    # what has no end of line was cut off, and a number of it may have lost digits
    lines = [f"{line}\n" for line in path.read_text("utf-8").split("\n")[:-1]]
    if path.suffix == ".csv":
        found: list[Mapping[str, Any]] = list(csv.DictReader(lines))
    elif path.suffix in {".jsonl", ".json"}:
        found = list(_parsed(lines, path))
    else:
        raise ValueError(f"a log ends in .csv, .jsonl or .json; got {path}")
    if not found:
        raise ValueError(f"{path} has no records yet")
    return found


def _parsed(lines: list[str], path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} of {path} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(
                f"line {number} of {path} is a {type(row).__name__}: a record is an object"
            )
        yield row


def _numbers(row: Mapping[str, Any]) -> Record:
    found = {}
    for name, value in row.items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            continue
    return found


def _in_order(rows: Records) -> Records:
    kept: Records = []
    for row in rows:
        step = row.get("step")
        if step is None:
            kept.append(row)
            continue
        while kept and kept[-1].get("step", step) > step:
            kept.pop()
        if kept and kept[-1].get("step") == step:
            kept[-1] = kept[-1] | row
        else:
            kept.append(row)
    return kept
