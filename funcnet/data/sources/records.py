"""Text records, one a line: JSON lines and CSV, read at random by the offsets of their lines."""

import csv
import json
import mmap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CsvDataset", "JsonLines", "LineFile"]

_BLOCK = 1 << 24


class LineFile:
    r"""The lines of a text file, mapped into memory; blank ones are left out.

    Args:
        path: a UTF-8 file.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
        >>> _ = path.write_text("one\n\ntwo")
        >>> list(data.LineFile(path))
        ['one', 'two']
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._bytes: mmap.mmap | None = None
        starts, stops = self._bounds()
        self._starts, self._stops = starts, stops

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Find where lines begin and end, without their line ends."""
        content = np.frombuffer(self._content(), np.uint8) if self.path.stat().st_size else None
        if content is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        ends = [
            np.flatnonzero(content[start : start + _BLOCK] == ord("\n")) + start
            for start in range(0, len(content), _BLOCK)
        ]
        stops = np.concatenate([*ends, [len(content)]])
        starts = np.concatenate([[0], stops[:-1] + 1])
        last = content[np.maximum(stops - 1, 0)]
        stops = stops - ((last == ord("\r")) & (stops > starts))
        kept = stops > starts
        return starts[kept], stops[kept]

    def _content(self) -> mmap.mmap:
        if self._bytes is None:
            with self.path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._bytes

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Any:
        """Return one line, without its end."""
        start, stop = int(self._starts[index]), int(self._stops[index])
        return self._content()[start:stop].decode()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {len(self)} records)"


class JsonLines(LineFile):
    r"""A file with a JSON value on each line.

    Args:
        path: a UTF-8 file.
        fields: which entries of each object to keep; all when left out.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.jsonl")
        >>> _ = path.write_text('{"x": 1, "y": "a"}\n{"x": 2, "y": "b"}\n')
        >>> data.JsonLines(path)[1], data.JsonLines(path, ["x"])[0]
        ({'x': 2, 'y': 'b'}, {'x': 1})
    """

    def __init__(self, path: str | Path, fields: Sequence[str] | None = None) -> None:
        super().__init__(path)
        self.fields = fields

    def __getitem__(self, index: int) -> Any:
        """Parse one line."""
        value = json.loads(super().__getitem__(index))
        return value if self.fields is None else {name: value[name] for name in self.fields}


class CsvDataset(LineFile):
    r"""A CSV file with a line of names at its top; rows are dicts.

    A quoted cell may hold line breaks: then a record is several lines of the file.

    Args:
        path: a UTF-8 file.
        types: a function for each column that is to be converted, such as ``{"x": float}``; the
            columns that it does not name are left out. Without it all are kept, as text.
        delimiter: what separates cells.

    Raises:
        KeyError: a column of ``types`` is not in the file.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.csv")
        >>> _ = path.write_text("x,y\n1,a\n2,b\n")
        >>> data.CsvDataset(path)[1], data.CsvDataset(path, {"x": float})[0]
        ({'x': '2', 'y': 'b'}, {'x': 1.0})
    """

    def __init__(
        self,
        path: str | Path,
        types: Mapping[str, Callable[[str], Any]] | None = None,
        delimiter: str = ",",
    ) -> None:
        self.delimiter = delimiter
        super().__init__(path)
        self.names = self._row(0)
        self._starts, self._stops = self._starts[1:], self._stops[1:]
        missing = sorted(set(types or ()) - set(self.names))
        if missing:
            raise KeyError(f"{path} has no columns {missing}; there are {self.names}")
        self.types = types

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        starts, stops = super()._bounds()
        content = self._content()
        # A record goes on while the quotes seen so far do not pair up.
        quotes = np.array(
            [
                content[int(a) : int(b)].count(b'"')
                if content.find(b'"', int(a), int(b)) >= 0
                else 0
                for a, b in zip(starts, stops, strict=True)
            ],
            np.int64,
        )
        closed = np.cumsum(quotes) % 2 == 0
        first = np.concatenate([[True], closed[:-1]])
        return starts[first], stops[closed]

    def _row(self, index: int) -> list[str]:
        text = LineFile.__getitem__(self, index)
        return next(csv.reader(text.splitlines(keepends=True), delimiter=self.delimiter))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Parse one record."""
        row = dict(zip(self.names, self._row(index), strict=True))
        if self.types is None:
            return row
        return {name: convert(row[name]) for name, convert in self.types.items()}
