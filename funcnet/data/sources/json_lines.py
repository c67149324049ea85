"""JSON lines: a text file with a JSON value on each line, read at random."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from funcnet.data.sources.line_file import LineFile

__all__ = ["JsonLines"]


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
