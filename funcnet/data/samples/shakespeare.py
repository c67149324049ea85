"""Eight plays of Shakespeare: a text of one megabyte for small language models."""

import gzip
from importlib.resources import files

__all__ = ["shakespeare"]


def shakespeare() -> str:
    """Return the embedded text: eight plays, ASCII, in the public domain.

    Returns:
        About a million characters.

    Example:
        >>> text = data.shakespeare()
        >>> len(text) > 1_000_000, text.isascii()
        (True, True)
    """
    packed = (files("funcnet.data") / "samples" / "shakespeare.txt.gz").read_bytes()
    return gzip.decompress(packed).decode("ascii")
