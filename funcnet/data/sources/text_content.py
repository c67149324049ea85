"""The bytes of a text file as UTF-8: mapped where they are that already, otherwise decoded once."""

import gzip
import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

__all__ = ["Content", "line_bounds", "line_number", "text_content"]

Content: TypeAlias = "mmap.mmap | bytes"

_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16"}
_MARKS |= {b"\xfe\xff": "utf-16"}
_UTF8_MARK = b"\xef\xbb\xbf"
_BLOCK = 1 << 24


def text_content(path: Path, encoding: str) -> Content:
    """Map a text file, or read it if it is compressed or not UTF-8.

    Args:
        path: the file; gzip and the marks of UTF-16 and UTF-32 are recognised by its first bytes.
        encoding: of the text, where no mark says it.

    Returns:
        UTF-8 without a byte order mark, except in a mapped file.

    Raises:
        ValueError: the file is a damaged gzip file, or not of this encoding.

    Example:
        >>> import pathlib, tempfile
        >>> from funcnet.data.sources.text_content import text_content
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
        >>> _ = path.write_text("ab", encoding="utf-16")
        >>> text_content(path, "utf-8")
        b'ab'
    """
    with path.open("rb") as file:
        head = file.read(4)
        if not head:
            return b""
        content: Content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if head[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged or truncated gzip file: {error}") from error
        head = content[:4]
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), encoding)
    if marked.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii"):
        return content
    try:
        return content[:].decode(marked).encode()
    except UnicodeError as error:
        raise ValueError(f"{path} is not {marked} text: {error}") from error


def line_bounds(content: Content) -> tuple[np.ndarray, np.ndarray]:
    r"""Find where lines begin and end, without their ends: ``\n``, ``\r\n`` or ``\r``.

    >>> from funcnet.data.sources.text_content import line_bounds
    >>> line_bounds(b"ab\r\nc\rd")
    (array([0, 4, 6]), array([2, 5, 7]))
    """
    if not len(content):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    start = len(_UTF8_MARK) if content[:3] == _UTF8_MARK else 0
    codes = np.frombuffer(content, np.uint8)
    ends = np.concatenate(list(_ends(codes)))
    ends = ends[ends >= start]
    # Of "\r\n" the line ends at the first and the next one begins after the second.
    after = np.minimum(ends + 1, len(codes) - 1)
    pair = (codes[ends] == ord("\r")) & (codes[after] == ord("\n")) & (after > ends)
    second = np.zeros(len(ends), bool)
    second[1:] = pair[:-1] & (np.diff(ends) == 1)
    starts = ends + 1 + pair
    starts, stops = starts[~second], ends[~second]
    return np.concatenate([[start], starts]), np.concatenate([stops, [len(codes)]])


def _ends(codes: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(codes), _BLOCK):
        block = codes[start : start + _BLOCK]
        yield np.flatnonzero((block == ord("\n")) | (block == ord("\r"))) + start


def line_number(content: Content, position: int) -> int:
    r"""Count the line, from 1, that a position lies in; for messages.

    >>> from funcnet.data.sources.text_content import line_number
    >>> line_number(b"ab\r\nc\rd", 6)
    3
    """
    before = content[:position]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")
