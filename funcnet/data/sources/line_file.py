"""Text files, one record a line, read at random by the offsets of their lines."""

import mmap
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.data.order.indices import checked_index
from funcnet.data.sources.text_content import Content, line_bounds, line_number, text_content

__all__ = ["LineFile"]

_MAPS = 64  # files that are mapped at a time


class LineFile:
    r"""The lines of a text file, mapped into memory; blank ones are left out.

    Lines end with ``\n``, ``\r\n`` or ``\r``, and nowhere else: form feeds and the separators of
    Unicode are part of a line. A byte order mark is left out. A file that is compressed with gzip, or
    not UTF-8, is read into memory, once in each worker process.

    Args:
        path: the file.
        encoding: of its text; UTF-16 and UTF-32 with a byte order mark are recognised.

    Raises:
        ValueError: the file is a damaged gzip file, or not of this encoding; of UTF-8 that shows when
            the line is read.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
        >>> _ = path.write_text("one\n\ntwo")
        >>> list(data.LineFile(path))
        ['one', 'two']
    """

    def __init__(self, path: str | Path, encoding: str = "utf-8") -> None:
        self.path = Path(path)
        self.encoding = encoding
        self._bytes: Content | None = None
        self._starts, self._stops = self._bounds()

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Find where records begin and end, without their line ends."""
        starts, stops = line_bounds(self._content())
        kept = stops > starts
        return starts[kept], stops[kept]

    def _content(self) -> Content:
        content = self._bytes
        if content is None:
            content = self._bytes = text_content(self.path, self.encoding)
            if isinstance(content, mmap.mmap):
                _forget_others(self)
        return content

    def forget(self) -> None:
        """Let go of the content; who reads from it at this moment keeps it."""
        self._bytes = None

    def _text(self, record: int) -> str:
        start, stop = int(self._starts[record]), int(self._stops[record])
        try:
            text = self._content()[start:stop].decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self._place(record)}: not UTF-8 text: {error}; pass encoding="
            ) from error
        if "\0" in text:  # UTF-16 without a mark, or no text at all
            raise ValueError(
                f"{self._place(record)}: a zero byte, which no text has; pass encoding="
            )
        return text

    def _place(self, record: int) -> str:
        return f"{self.path}, line {line_number(self._content(), int(self._starts[record]))}"

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Any:
        """Return one line, without its end."""
        return self._text(checked_index(index, len(self), self))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {len(self)} records)"


_mapped: "deque[weakref.ref[LineFile]]" = deque()


def _forget_others(new: LineFile) -> None:
    """Let go of the map that was made first, if there are many: each holds a descriptor."""
    _mapped.append(weakref.ref(new))
    while len(_mapped) > _MAPS:
        old = _mapped.popleft()()
        if old is not None and old is not new:
            old.forget()
