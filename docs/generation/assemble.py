"""Put the pages that people write and those that are made into one folder for Sphinx."""

import importlib
import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["BUILD", "DOCS", "GENERATORS", "ROOT", "assemble"]

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
BUILD = DOCS / "_build"

GENERATORS = {
    "reference": "docs.generation.reference",
    "coming_from/names": "docs.generation.other_libraries",
}
"""Modules with ``pages()``, by the folder of the site that they fill."""

KINDS = {".md", ".ipynb", ".rst", ".png", ".svg", ".jpg"}
"""What belongs to pages."""


def assemble(source: Path, only: Iterable[str] | None = None) -> None:
    """Write the site's source: files that did not change keep their time, what is gone goes.

    Args:
        source: the folder.
        only: folders of pages; all by default.
    """
    wanted: dict[str, bytes] = {}
    for path in DOCS.rglob("*"):
        name = path.relative_to(DOCS)
        if path.suffix in KINDS and name.parts[0] != "_build":
            wanted[name.as_posix()] = path.read_bytes()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        wanted[f"learn/{path.name}"] = path.read_bytes()
    for folder, generator in GENERATORS.items():
        if only is None or folder.split("/")[0] in only:
            for name, text in importlib.import_module(generator).pages().items():
                wanted[name] = text.encode()
    if only is not None:
        wanted = {n: b for n, b in wanted.items() if "/" not in n or n.split("/")[0] in set(only)}
    for path in sorted(source.rglob("*"), reverse=True) if source.exists() else ():
        if path.is_file() and path.relative_to(source).as_posix() not in wanted:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for name, content in wanted.items():
        path = source / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def clean() -> None:
    """Remove all that was built."""
    shutil.rmtree(BUILD, ignore_errors=True)
