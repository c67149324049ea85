"""Parquet and Arrow files, through the pyarrow package."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.data.loading.errors import naming
from funcnet.data.order.indices import as_indices, checked_index
from funcnet.data.sources.arrow_values import column_values, is_array_type

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
    process: prefer threads. Values keep the dtypes of their columns. Columns of lists of numbers and
    of tensors become arrays; a batch of columns of numbers and tensors without gaps is taken at
    once, never row by row.

    Args:
        paths: one file or several of the same columns: ``.parquet``, otherwise Arrow's file format
            (``.arrow``, ``.feather``) or its stream format, which Hugging Face writes.
        columns: which to read; all when left out.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: a file is damaged, or of another format; damage within pages of a Parquet file
            shows only if it was written with checksums or is compressed.

    Example:
        >>> import pyarrow as pa, pyarrow.parquet as pq, tempfile
        >>> path = tempfile.mkdtemp() + "/a.parquet"
        >>> pq.write_table(pa.table({"x": [1.5, 2.5], "name": ["a", "b"]}), path)
        >>> data.ArrowDataset(path)[1]
        {'x': np.float64(2.5), 'name': 'b'}
    """

    def __init__(
        self, paths: str | Path | Sequence[str | Path], columns: Sequence[str] | None = None
    ) -> None:
        several = [paths] if isinstance(paths, (str, Path)) else list(paths)
        self.paths = [os.fspath(path) for path in several]
        self.columns = None if columns is None else list(columns)
        pa = _pyarrow()
        tables = [self._read(path) for path in self.paths]
        with naming(self.paths[0], "of the same columns as the files after it"):
            self.table = pa.concat_tables(tables)
        batches = [table.to_batches() for table in tables]
        self._batches = [
            (path, batch) for path, each in zip(self.paths, batches, strict=True) for batch in each
        ]
        self._stops = np.cumsum([batch.num_rows for _, batch in self._batches], dtype=np.int64)
        self._checked: set[int] = set()
        fixed = all(is_array_type(field.type) for field in self.table.schema)
        self._arrays = fixed and not any(column.null_count for column in self.table.columns)

    def _read(self, path: str) -> Any:
        pa = _pyarrow()
        if path.endswith(".parquet"):
            import pyarrow.parquet

            with naming(path, "a Parquet file"):
                table = pyarrow.parquet.read_table(
                    path, columns=self.columns, memory_map=True, page_checksum_verification=True
                )
                if os.path.isfile(path):  # Spark writes folders of this name
                    rows = pyarrow.parquet.read_metadata(path).num_rows
                    if table.num_rows != rows:
                        raise ValueError(f"it has {table.num_rows} of {rows} rows")
                return _checked(table)
        with naming(path, "an Arrow file or stream"):
            source = pa.memory_map(path)
            if source.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(source)
                _check_batches(pa, source, reader.num_record_batches)
                table = reader.read_all()
            else:
                _check_end(source)
                table = pa.ipc.open_stream(source).read_all()
                if source.tell() != source.size():
                    raise ValueError(f"its stream ends at byte {source.tell()} of {source.size()}")
            table.validate()
            _checked(table)
            return table if self.columns is None else table.select(self.columns)

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one row."""
        return self.__getitems__([checked_index(index, len(self), self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return many rows at once."""
        columns = self._columns(np.asarray(indices, np.int64))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    @property
    def gather(self) -> Any:
        """``gather(indices, allocate)`` if every column becomes an array, otherwise ``None``."""
        return self._gather if self._arrays else None

    def _gather(self, indices: np.ndarray, allocate: Any = None) -> dict[str, np.ndarray]:
        # Arrow's own arrays are read-only; a batch is its consumer's to change.
        return {name: np.array(values) for name, values in self._columns(indices).items()}

    def _columns(self, indices: np.ndarray) -> dict[str, Any]:
        indices = as_indices("gather", indices)
        for which in np.unique(np.searchsorted(self._stops, indices, side="right")).tolist():
            self._check(which)
        part = self.table.take(indices)
        return {name: column_values(part[name]) for name in part.column_names}

    def _check(self, which: int) -> None:
        """Check a batch of the file before it is first used: Arrow itself trusts its offsets."""
        if which not in self._checked:
            path, batch = self._batches[which]
            with naming(path, "an Arrow file or stream"):
                batch.validate(full=True)
            self._checked.add(which)

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "columns": self.columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"ArrowDataset({self.paths[0]!r}, …, {len(self)} rows of {self.table.column_names})"


def _check_end(source: Any) -> None:
    """Check the mark at a stream's end, without which it would seem to end wherever it was cut off."""
    size = source.size()
    source.seek(max(size - 8, 0))
    if source.read(8) != b"\xff\xff\xff\xff\0\0\0\0":
        raise ValueError("it is truncated: the mark of its end is missing")
    source.seek(0)


def _check_batches(pa: Any, source: Any, expected: int) -> None:
    """Check that the index at a file's end lists every batch: rows that it does not list would be missing."""
    source.seek(8)  # the file is a stream between a mark and an index
    messages = pa.ipc.MessageReader.open_stream(source)
    found = sum(message.type == "record batch" for message in messages)
    if found != expected:
        raise ValueError(f"its index lists {expected} of {found} batches")


def _checked(table: Any) -> Any:
    """Check that the names of columns are text, and each there once."""
    names = table.column_names
    if not names:
        raise ValueError("it has no columns")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"it has more than one column named {', '.join(twice)}")
    return table
