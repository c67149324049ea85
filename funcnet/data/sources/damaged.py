"""Errors of libraries that read files, with the name of the file."""

import contextlib
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["naming"]

# What readers raise over content that they did not expect. A file that is missing or may not be read is
# an OSError that names it.
_RAISED = (
    ValueError, EOFError, OSError, KeyError, IndexError, TypeError, SyntaxError, OverflowError,
    MemoryError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
    RuntimeError, AttributeError,
)  # fmt: skip


@contextlib.contextmanager
def naming(path: str | Path, what: str) -> Iterator[None]:
    """Turn what a library raises over the content of a file into an error that names the file.

    Args:
        path: the file.
        what: it should be.

    Raises:
        ValueError: the library raised.

    Example:
        >>> from funcnet.data.sources.damaged import naming
        >>> with naming("a.json", "a JSON file"):
        ...     int("x")
        Traceback (most recent call last):
            ...
        ValueError: a.json is not a JSON file, or damaged: invalid literal for int() with base 10: 'x'
    """
    try:
        yield
    except _RAISED as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is not {what}, or damaged: {reason}") from error
