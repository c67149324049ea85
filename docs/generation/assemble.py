"""Put the pages that people write and those that are made into one folder for Sphinx."""

import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from docs.generation.cells import is_executed
from docs.generation.repository import PAGES, ROOT, NameOf, rewrite_links, source_page, source_place

__all__ = ["BUILD", "DOCS", "GENERATORS", "ROOT", "collect", "write"]

DOCS = Path(__file__).parents[1]
BUILD = DOCS / "_build"

GENERATORS = {
    "coming_from/dictionary": "docs.generation.dictionary",
    "coming_from/names": "docs.generation.other_libraries",
    "reference": "docs.generation.reference",
    "reference/pictures": "docs.generation.pictures",
    "examples": "docs.generation.examples",
}
"""Modules with ``pages()``, by the folder of the site that they fill; the second of a folder by ``folder/name``."""

KINDS = {".md", ".ipynb", ".rst", ".png", ".svg", ".jpg", ".gif"}
"""What belongs to pages."""

NOT_PAGES = {"_build", "theme", "generation", "extensions", "formulas"}


def collect(only: Iterable[str] | None = None) -> dict[str, bytes]:
    """Read and make all pages, with links that lead to pages.

    Args:
        only: folders of the site; all by default. The front page is always there.
    """
    pages, origins = _written()
    for folder, generator in GENERATORS.items():
        if only is None or folder.split("/")[0] in only:
            for name, text in importlib.import_module(generator).pages().items():
                pages[name] = text.encode() if isinstance(text, str) else text
    folders = None if only is None else {"source", *only}
    if folders is not None:
        pages = {n: b for n, b in pages.items() if "/" not in n or n.split("/")[0] in folders}
    return _linked(pages, origins, folders)


def write(source: Path, pages: Mapping[str, bytes]) -> None:
    """Write a site's source: files that did not change keep their time, what is gone goes."""
    for path in sorted(source.rglob("*"), reverse=True) if source.exists() else ():
        if path.is_file() and path.relative_to(source).as_posix() not in pages:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for name, content in pages.items():
        path = source / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _written() -> tuple[dict[str, bytes], dict[str, str]]:
    """Read the pages that people write, and the repository's file of each."""
    files: dict[str, Path] = {}
    for path in sorted(DOCS.rglob("*")):
        name = path.relative_to(DOCS)
        if path.suffix in KINDS and name.parts[0] not in NOT_PAGES:
            files[name.as_posix()] = path
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files[f"learn/{path.name}"] = path
    for path, name in PAGES.items():
        if (ROOT / path).is_file() and name not in files:
            files[name] = ROOT / path
    origins = {name: path.relative_to(ROOT).as_posix() for name, path in files.items()}
    return {name: path.read_bytes() for name, path in files.items()}, origins


def _linked(
    pages: dict[str, bytes], origins: dict[str, str], folders: set[str] | None
) -> dict[str, bytes]:
    """Rewrite the links of all pages; make the pages of files that they lead to.

    A preview's links to folders that it lacks lead to the front page.
    """
    executed = {name for name, content in pages.items() if is_executed(name, content)}

    def name_of(page: str) -> str:
        if folders is not None and "/" in page and page.split("/", maxsplit=1)[0] not in folders:
            page = "index.md"
        return str(Path(page).with_suffix(".ipynb")) if page in executed else page

    finished: dict[str, bytes] = {}
    waiting, made = dict(pages), set(pages)
    while waiting:
        wanted: set[str] = set()
        for name, content in waiting.items():
            finished[name] = _with_links(content, name, origins, name_of, wanted)
        waiting = {}
        for path in sorted(wanted):
            if (name := source_place(path)) not in made:
                text = source_page(path)
                waiting[name] = text.encode() if isinstance(text, str) else text
                origins[name] = f"{path}/index.md" if (ROOT / path).is_dir() else path
                made.add(name)
    return finished


def _with_links(
    content: bytes, name: str, origins: dict[str, str], name_of: NameOf, wanted: set[str]
) -> bytes:
    origin = origins.get(name, f"docs/{name}")
    if name.endswith(".md"):
        return rewrite_links(content.decode(), origin, name, name_of, wanted).encode()
    if name.endswith(".ipynb"):
        return _notebook_with_links(content, origin, name, name_of, wanted)
    return content


def _notebook_with_links(
    content: bytes, origin: str, name: str, name_of: NameOf, wanted: set[str]
) -> bytes:
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            cell["source"] = rewrite_links(text, origin, name, name_of, wanted)
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode()
