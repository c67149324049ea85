"""CSV files, read at random by the offsets of their records."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.data.sources.line_file import LineFile

__all__ = ["CsvDataset"]


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
