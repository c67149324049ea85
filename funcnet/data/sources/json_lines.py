"""JSON lines: a text file with a JSON value on each line, read at random."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.data.order.indices import checked_index
from funcnet.data.sources.line_file import LineFile

__all__ = ["JsonLines"]

_BLANK = b" \t"


class JsonLines(LineFile):
    r"""A file with a JSON value on each line; blank lines are left out.

    Args:
        path: the file, as `LineFile` takes it.
        fields: which entries of each object to keep; all when left out.
        encoding: of its text.

    Raises:
        ValueError: a line is not JSON, or lacks a field; raised when it is read, with the line.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.jsonl")
        >>> _ = path.write_text('{"x": 1, "y": "a"}\n{"x": 2, "y": "b"}\n')
        >>> data.JsonLines(path)[1], data.JsonLines(path, ["x"])[0]
        ({'x': 2, 'y': 'b'}, {'x': 1})
    """

    def __init__(
        self, path: str | Path, fields: Sequence[str] | None = None, encoding: str = "utf-8"
    ) -> None:
        super().__init__(path, encoding)
        self.fields = fields

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        starts, stops = super()._bounds()
        content = self._content()
        if not len(starts):
            return starts, stops
        kept = np.ones(len(starts), bool)
        # Only lines that begin with a blank can be blank.
        first = np.frombuffer(content, np.uint8)[starts]
        for line in np.flatnonzero(np.isin(first, list(_BLANK))).tolist():
            kept[line] = bool(content[int(starts[line]) : int(stops[line])].strip(_BLANK))
        return starts[kept], stops[kept]

    def __getitem__(self, index: int) -> Any:
        """Parse one line."""
        record = checked_index(index, len(self), self)
        text = self._text(record)
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            place = f"{self._place(record)}: {error.msg}"
            raise json.JSONDecodeError(place, error.doc, error.pos) from error
        if self.fields is None:
            return value
        missing = [f for f in self.fields if not isinstance(value, dict) or f not in value]
        if missing:
            raise ValueError(f"{self._place(record)}: no field {', '.join(missing)}")
        return {name: value[name] for name in self.fields}
