"""Errors of loading that say which sample, which dataset, which transform and which file."""

import contextlib
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from funcnet.data.order.sample_rng import SampleRng

__all__ = ["Failure", "SampleError", "WorkerDiedError", "naming", "sample_error"]

# What readers raise over content that they did not expect. A file that is missing or may not be read is
# an OSError that names it.
_RAISED = (
    ValueError, EOFError, OSError, KeyError, IndexError, TypeError, SyntaxError, OverflowError,
    MemoryError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
    RuntimeError, AttributeError,
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """What comes in the place of a batch or sample that could not be made; the others still come.

    It travels as a value because a generator that raises is at its end.
    """

    error: Exception


class SampleError(RuntimeError):
    """Reading or transforming one sample failed.

    The original exception is the cause; from a worker process, its traceback is in the notes. To
    look closer, run the failing sample alone::

        dataset[error.index]

    Attributes:
        index: of the sample in the dataset.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message, index)
        self.index = index

    def __str__(self) -> str:
        """Show the message alone."""
        return str(self.args[0])


def sample_error(dataset: str, sample_rng: SampleRng, error: Exception) -> SampleError:
    """Say which sample of which dataset failed, and in which transform.

    >>> from funcnet.data.order.sample_rng import SampleRng
    >>> from funcnet.data.loading.errors import sample_error
    >>> print(sample_error("a list", SampleRng(0, 0, 7), ValueError("odd")))
    sample 7 of a list failed while it was read: ValueError: odd
    """
    where = (
        f"in transform {sample_rng.failed_transform}"
        if sample_rng.failed_transform
        else "while it was read"
    )
    return SampleError(
        f"sample {sample_rng.index} of {dataset} failed {where}: {type(error).__name__}: {error}",
        sample_rng.index,
    )


class WorkerDiedError(RuntimeError):
    """A worker process ended without a word: killed, out of memory, or crashed in native code.

    No process, no shared memory and no half-written batch is left of it. Out of memory is the usual
    reason: lower ``num_workers``, ``prefetch`` or ``batch_size``, or use ``workers="thread"``.
    """


@contextlib.contextmanager
def naming(path: str | Path, what: str) -> Iterator[None]:
    """Turn what a library raises over the content of a file into an error that names the file.

    Args:
        path: the file.
        what: it should be.

    Raises:
        ValueError: the library raised.

    Example:
        >>> from funcnet.data.loading.errors import naming
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
