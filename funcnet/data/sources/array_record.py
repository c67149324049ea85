"""ArrayRecord files, through the array_record package."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from funcnet.data.loading.errors import naming
from funcnet.data.order.indices import checked_index

__all__ = ["ArrayRecordDataset"]


class ArrayRecordDataset:
    """The records of ArrayRecord files, which can be read at random.

    Args:
        paths: one file or several.
        decode: a function of a record's bytes; without it samples are bytes.

    Raises:
        ImportError: array_record is not installed.
        ValueError: a file is damaged, or of another format.

    Example:
        >>> data.ArrayRecordDataset.__name__
        'ArrayRecordDataset'

    Reference:
        https://github.com/google/array_record
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        decode: Callable[[bytes], Any] | None = None,
    ) -> None:
        several = [paths] if isinstance(paths, (str, Path)) else list(paths)
        self.paths = [os.fspath(path) for path in several]
        self.decode = decode
        self._source = self._open()

    def _open(self) -> Any:
        try:
            from array_record.python.array_record_data_source import ArrayRecordDataSource
        except ImportError as error:
            raise ImportError(
                'reading ArrayRecord files needs array_record: pip install "funcnet[tables]"'
            ) from error
        with naming(", ".join(self.paths), "ArrayRecord"):
            return ArrayRecordDataSource(self.paths)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        """Read one record."""
        return self.__getitems__([checked_index(index, len(self), self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Read many records at once."""
        with naming(", ".join(self.paths), "ArrayRecord"):
            records = self._source.__getitems__(list(indices))
        return list(records if self.decode is None else map(self.decode, records))

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "decode": self.decode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"ArrayRecordDataset({len(self.paths)} files, {len(self)} records)"
