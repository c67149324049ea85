"""Lay out the sources of the runner, so that a C or C++ project can build it."""

import os
from importlib.resources import files
from pathlib import Path

from funcnet.core.files import as_path, write_atomically

__all__ = ["native"]


def native(directory: str | os.PathLike[str]) -> Path:
    """Write the C++ runner of artifacts into a folder: sources, a CMake file and a program to try.

    ``funcnet.h`` is what a program includes, ``funcnet.cpp`` what it compiles (C++17), ``run.c`` a whole program. What
    runs the model is a PJRT plugin, a shared library for CPUs or GPUs. How to build it stands in ``README.md`` there.

    Args:
        directory: of the sources; it is made if it is missing. Files of the same names are replaced, others stay.

    Returns:
        The path of the folder.

    Raises:
        NotADirectoryError: a file lies there.

    Example:
        >>> folder = fn.export.native("runs/native")
        >>> (folder / "funcnet.h").exists(), (folder / "CMakeLists.txt").exists()
        (True, True)
    """
    target = as_path(directory)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target} is a file; name a folder for the sources of the runner")
    for name, content in _sources().items():
        write_atomically(target / name, content)
    return target


def _sources() -> dict[str, bytes]:
    """Read the files that come with the package."""
    root = Path(str(files("funcnet.export.native") / "sources"))
    found = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name[0] != ".")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}
