"""Files written whole or not at all, and their sizes as people read them."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "as_path",
    "check_replaceable",
    "readable_bytes",
    "replacing",
    "sync_folder",
    "write_atomically",
]


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a path, or say that the argument is none.

    >>> as_path("runs/note.txt").name
    'note.txt'
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"expected the path of a file or folder, which comes first, such as 'runs/a'; got {type(path).__name__}"
        )
    return Path(path)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the name only when it is whole and on the disk.

    A reader, or a crash, sees the old file or the new one. What is written goes to a temporary file beside it;
    an error removes it. A symbolic link stays one: the file that it points to is replaced. Missing folders are
    made.

    Raises:
        IsADirectoryError: the path is that of a folder.
        FileExistsError: it is that of a device, pipe or socket.

    >>> with replacing("runs/note.txt") as file:
    ...     _ = file.write(b"done")
    >>> Path("runs/note.txt").read_bytes()
    b'done'
    """
    target = Path(os.path.realpath(as_path(path)))
    check_replaceable(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_ordinary_mode(target))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file so that a reader, or a crash, never sees half of it.

    >>> write_atomically("runs/note.txt", b"done").read_bytes()
    b'done'
    """
    with replacing(path) as file:
        file.write(content)
    return Path(path)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Have the names in a folder reach the disk; systems that cannot open folders do so by themselves."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Raise for what is there and no file: a rename would leave a file in the place of ``/dev/null``.

    >>> check_replaceable("new.npz")
    """
    target, name = Path(os.path.realpath(path)), os.fspath(path) or "'', an empty path,"
    if target.is_dir():
        raise IsADirectoryError(f"{name} is a folder: give the path of a file in it")
    if target.exists() and not target.is_file():
        raise FileExistsError(
            f"{name} is a device, pipe or socket, and would be replaced by a file: give the path of a file"
        )


def _ordinary_mode(target: Path) -> int:
    """Find the rights of the file that is replaced, or those of a new one: mkstemp's own are private."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def readable_bytes(count: float) -> str:
    """Write a number of bytes with the unit that fits.

    Example:
        >>> from funcnet.core.files import readable_bytes
        >>> readable_bytes(100), readable_bytes(1536), readable_bytes(5 * 2**40)
        ('100 B', '1.5 KiB', '5.0 TiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
