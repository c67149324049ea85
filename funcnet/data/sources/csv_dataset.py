"""CSV files, read at random by the offsets of their records."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.data.order.indices import checked_index
from funcnet.data.sources.line_file import LineFile
from funcnet.data.sources.text_content import Content, line_bounds, line_number

__all__ = ["CsvDataset"]


class CsvDataset(LineFile):
    r"""A CSV file with a line of names at its top; rows are dicts.

    A cell that begins with a quote ends with one, and may hold line breaks, delimiters, and quotes
    written twice; quotes elsewhere are characters like others. Cells may be of any length. What
    does not follow these rules is refused, with the line: a quote that is never closed or is
    followed by text, and a row with too few cells or too many.

    Args:
        path: the file, as `LineFile` takes it.
        types: a function for each column that is to be converted, such as ``{"x": float}``; the
            columns that it does not name are left out. Without it all are kept, as text.
        delimiter: what separates cells.
        encoding: of its text.

    Raises:
        KeyError: a column of ``types`` is not in the file.
        ValueError: the file has no line of names, or a name twice; or it is not CSV.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.csv")
        >>> _ = path.write_text("x,y\n1,a\n2,b\n")
        >>> data.CsvDataset(path)[1], data.CsvDataset(path, {"x": float})[0]
        ({'x': '2', 'y': 'b'}, {'x': 1.0})

    Reference:
        Y. Shafranovich, "Common Format and MIME Type for Comma-Separated Values", RFC 4180, 2005.
    """

    def __init__(
        self,
        path: str | Path,
        types: Mapping[str, Callable[[str], Any]] | None = None,
        delimiter: str = ",",
        encoding: str = "utf-8",
    ) -> None:
        if not delimiter or set(delimiter) & set('"\r\n'):
            raise ValueError(
                f"delimiter must not be empty, a quote or a line end; got {delimiter!r}"
            )
        self.delimiter = delimiter
        super().__init__(path, encoding)
        if not len(self._starts):
            raise ValueError(f"{path} is empty: it must begin with a line of names")
        self.names = list(_cells(self._text(0), delimiter))
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"{path} has more than one column named {', '.join(twice)}")
        self._starts, self._stops = self._starts[1:], self._stops[1:]
        missing = sorted(set(types or ()) - set(self.names))
        if missing:
            raise KeyError(f"{path} has no columns {missing}; there are {self.names}")
        self.types = types

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        content = self._content()
        starts, lines = line_bounds(content)
        stops, kept = lines.copy(), lines > starts
        whole = _one_line(self.delimiter)
        # A line without a quote is a record; one with quotes may take in the lines after it.
        quote = content.find(b'"')
        while quote >= 0:
            line = last = int(np.searchsorted(starts, quote, side="right")) - 1
            if whole.fullmatch(content, int(starts[line]), int(lines[line])) is None:
                last = self._last_line(content, line, starts, lines)
            kept[line + 1 : last + 1] = False
            stops[line] = lines[last]
            quote = content.find(b'"', int(lines[last]))
        return starts[kept], stops[kept]

    def _last_line(self, content: Content, line: int, starts: np.ndarray, lines: np.ndarray) -> int:
        """Find the line in which a record ends, or say what is wrong with it."""
        delimiter = self.delimiter.encode()
        position = int(starts[line])
        while True:
            if content[position : position + 1] != b'"':
                found = content.find(delimiter, position, int(lines[line]))
                if found < 0:
                    return line
                position = found + len(delimiter)
                continue
            close = _closing(content, position, b'"')
            if close < 0:
                number = line_number(content, position)
                raise ValueError(f"{self.path}, line {number}: a quote opens that is never closed")
            while close >= lines[line]:
                line += 1
            after = close + 1
            if after == lines[line]:
                return line
            if content[after : after + len(delimiter)] != delimiter:
                number = line_number(content, close)
                raise ValueError(
                    f"{self.path}, line {number}: text follows the closing quote of a cell; within a"
                    " quoted cell quotes are written twice"
                )
            position = after + len(delimiter)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Parse one record."""
        record = checked_index(index, len(self), self)
        cells = list(_cells(self._text(record), self.delimiter))
        if len(cells) != len(self.names):
            raise ValueError(
                f"{self._place(record)}: {len(cells)} cells for {len(self.names)} columns"
            )
        row = dict(zip(self.names, cells, strict=True))
        if self.types is None:
            return row
        return {name: self._converted(name, row[name], record) for name in self.types}

    def _converted(self, name: str, cell: str, record: int) -> Any:
        assert self.types is not None
        try:
            return self.types[name](cell)
        except ValueError as error:
            raise ValueError(f"{self._place(record)}, column {name}: {error}") from error


def _one_line(delimiter: str) -> re.Pattern[bytes]:
    """Make a pattern of records that lie in one line: most of those with quotes do."""
    mark = re.escape(delimiter.encode())
    # no possessive quantifiers: Python 3.11.0 to 3.11.2 match with them what does not match
    cell = rb'(?:"[^"\r\n]*(?:""[^"\r\n]*)*"|(?!")(?:(?!%b)[^\r\n])*)' % mark
    return re.compile(rb"%b(?:%b%b)*" % (cell, mark, cell))


def _closing(text: Any, opening: int, quote: Any) -> int:
    """Find the quote that closes a cell; -1 if there is none."""
    position = text.find(quote, opening + 1)
    while position >= 0 and text[position + 1 : position + 2] == quote:  # written twice
        position = text.find(quote, position + 2)
    return position


def _cells(text: str, delimiter: str) -> Iterator[str]:
    """Cut a record that is known to be well-formed into its cells."""
    position = 0
    while True:
        if text.startswith('"', position):
            end = _closing(text, position, '"') + 1
            yield text[position + 1 : end - 1].replace('""', '"')
        else:
            end = text.find(delimiter, position)
            end = len(text) if end < 0 else end
            yield text[position:end]
        if end == len(text):
            return
        position = end + len(delimiter)
