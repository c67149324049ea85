"""A file that grows by whole pieces, of which a killed process loses at most the last one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from funcnet.core.files import as_path, write_atomically

__all__ = ["AppendFile", "free_folder", "free_name"]


class AppendFile:
    r"""A file that grows by whole pieces: each is handed to the system at once, without a buffer in this process.

    As long as it is open no other run can open it, where the system has locks.

    Args:
        path: of the file; missing folders are made.
        owner: the class that writes it, for messages.

    Raises:
        OSError: the file cannot be opened for writing.
        RuntimeError: another run writes into it now.

    Example:
        >>> from funcnet.training.observers.append_file import AppendFile
        >>> with AppendFile("runs/a.txt", "CSVLog") as file:
        ...     file.append(b"one\n")
        ...     file.append(b"two\n")
        >>> Path("runs/a.txt").read_text()
        'one\ntwo\n'
    """

    def __init__(self, path: str | os.PathLike[str], owner: str) -> None:
        self.path, self.owner = Path(os.path.realpath(as_path(path))), owner
        with self._explained("open"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()

    def _open(self) -> None:
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _lock(self._handle, self.path, self.owner)
        except BaseException:
            os.close(self._handle)
            raise
        self.size = os.fstat(self._handle).st_size

    def __enter__(self) -> "AppendFile":
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def read(self) -> bytes:
        """Return the whole content."""
        return self.path.read_bytes()

    def append(self, piece: bytes) -> None:
        """Add a piece, whole or not at all.

        Raises:
            OSError: there is no room, or the like; the file is as it was before.
        """
        with self._explained("write"):
            try:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(self._handle, rest) :]
            except OSError:
                os.ftruncate(self._handle, self.size)  # works on a full disk, too
                raise
        self.size += len(piece)

    def append_over(self, piece: bytes, size: int) -> None:
        """Put a piece in place of what comes behind the first ``size`` bytes: the last piece, made anew."""
        if size != self.size:
            with self._explained("write"):
                os.ftruncate(self._handle, size)
            self.size = size
        self.append(piece)

    def replace(self, content: bytes) -> None:
        """Put another content in place of the old; a crash leaves the one or the other."""
        with self._explained("write"):
            write_atomically(self.path, content)
            old = self._handle
            try:
                self._open()
            finally:
                os.close(old)

    def move_aside(self) -> Path | None:
        """Begin an empty file; what the old one held stays beside it, as ``name.1.csv``, ``name.2.csv`` ...

        Returns:
            Where that is; None if there was nothing.
        """
        if not self.size:
            return None
        with self._explained("write"):
            aside = free_name(self.path)
            self.path.rename(aside)
            old = self._handle
            try:
                self._open()
            finally:
                os.close(old)
        return aside

    def close(self) -> None:
        """Have everything reach the disk, and let others open the file."""
        if self._handle < 0:
            return
        try:
            os.fsync(self._handle)
        except OSError:  # a pipe, or a system that cannot
            pass
        finally:
            os.close(self._handle)
            self._handle = -1

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (
                f"{self.owner} cannot {verb} its file ({error.strerror}): make room, or give it a path in a folder "
                "that this process may write to"
            )
            raise OSError(error.errno, reason, str(self.path)) from error


def free_name(path: Path) -> Path:
    """Find a name for what has to make room: the first of ``a.1.csv``, ``a.2.csv`` ... that is free.

    Example:
        >>> from funcnet.training.observers.append_file import free_name
        >>> free_name(Path("runs/a.csv")).name
        'a.1.csv'
    """
    number = 1
    while (found := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    return found


def free_folder(folder: Path) -> Path:
    """Make a folder within another for what has to make room: the first of ``earlier-1``, ``earlier-2`` ...

    Example:
        >>> from funcnet.training.observers.append_file import free_folder
        >>> free_folder(Path()).name
        'earlier-1'
    """
    number = 1
    while (found := folder / f"earlier-{number}").exists():
        number += 1
    found.mkdir()
    return found


def _lock(handle: int, path: Path, owner: str) -> None:
    """Keep others out until the file is closed, or this process ends however it ends."""
    try:
        import fcntl
    except ImportError:  # a system without such locks
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError(
            f"another run, or another observer of this one, writes into {path} now: give each {owner} a path of its own"
        ) from None
    except OSError:  # a file system without such locks
        return
