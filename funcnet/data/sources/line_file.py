"""Text files, one record a line, read at random by the offsets of their lines."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["LineFile"]

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
