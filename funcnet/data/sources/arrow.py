"""Parquet and Arrow files, through the pyarrow package."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ArrowDataset"]


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError('reading tables needs pyarrow: pip install "funcnet[tables]"') from error
    return pyarrow


class ArrowDataset:
    """The rows of Arrow or Parquet files, as dicts.

    Arrow files are mapped into memory: workers share them, and nothing is copied before it is asked
    for. Parquet files are compressed, so their columns are decoded into memory, once in each
    process: prefer threads. A batch of columns of numbers without gaps is taken at once, never row
    by row.

    Args:
        paths: one file or several of the same columns: ``.parquet``, otherwise Arrow's file format
            (``.arrow``, ``.feather``) or its stream format, which Hugging Face writes.
        columns: which to read; all when left out.

    Raises:
        ImportError: pyarrow is not installed.

    Example:
        >>> import pyarrow as pa, pyarrow.parquet as pq, tempfile
        >>> path = tempfile.mkdtemp() + "/a.parquet"
        >>> pq.write_table(pa.table({"x": [1.5, 2.5], "name": ["a", "b"]}), path)
        >>> data.ArrowDataset(path)[1]
        {'x': 2.5, 'name': 'b'}
    """

    def __init__(
        self, paths: str | Path | Sequence[str | Path], columns: Sequence[str] | None = None
    ) -> None:
        several = [paths] if isinstance(paths, (str, Path)) else list(paths)
        self.paths = [os.fspath(path) for path in several]
        self.columns = None if columns is None else list(columns)
        pa = _pyarrow()
        self.table = pa.concat_tables([self._read(path) for path in self.paths])
        types = [field.type for field in self.table.schema]
        numbers = all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in types)
        self._numbers = numbers and not any(c.null_count for c in self.table.columns)

    def _read(self, path: str) -> Any:
        pa = _pyarrow()
        if path.endswith(".parquet"):
            import pyarrow.parquet

            return pyarrow.parquet.read_table(path, columns=self.columns, memory_map=True)
        source = pa.memory_map(path)
        try:
            table = pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            table = pa.ipc.open_stream(source).read_all()
        return table if self.columns is None else table.select(self.columns)

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one row."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {self!r}")
        return self.table.slice(index % len(self), 1).to_pylist()[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return many rows at once."""
        return self.table.take(list(indices)).to_pylist()

    @property
    def gather(self) -> Any:
        """``gather(indices, allocate)`` if every column holds numbers, otherwise ``None``."""
        return self._gather if self._numbers else None

    def _gather(self, indices: np.ndarray, allocate: Any = None) -> dict[str, np.ndarray]:
        part = self.table.take(indices)
        # Arrow's own arrays are read-only; a batch is its consumer's to change.
        return {name: np.array(part[name].to_numpy()) for name in part.column_names}

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "columns": self.columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"ArrowDataset({self.paths[0]!r}, …, {len(self)} rows of {self.table.column_names})"
