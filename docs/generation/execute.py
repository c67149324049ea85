"""Run notebooks, and Markdown pages with ``{code-cell}``, each in a fresh kernel; keep what they show.

A result is kept under a hash of the page and of the package, so that a page runs again whenever something changed that
it could show. A cell that is to fail says so with ``:tags: [raises-exception]``; any other error fails the build.
"""

import hashlib
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from docs.generation.assemble import BUILD, ROOT

__all__ = ["PageFailedError", "execute", "execute_all", "read_page"]

FIRST = "%xmode Minimal"
"""An error shows as its last line: the traceback would be of the kernel."""


class PageFailedError(Exception):
    """A cell of a page raised; the message has the page, the cell and the error."""


def read_page(path: Path) -> NotebookNode | None:
    """Read a notebook or a Markdown page with ``{code-cell}``; None of a page without code to run."""
    if path.suffix == ".ipynb":
        return nbformat.read(path, as_version=4)
    text = path.read_text()
    if "```{code-cell}" not in text:
        return None
    return jupytext.reads(text, fmt="md:myst")


def execute(notebook: NotebookNode, folder: Path, name: str) -> None:
    """Run a notebook in a folder, from the top.

    Raises:
        PageFailedError: a cell raised, and is not tagged ``raises-exception``.
    """
    first = nbformat.v4.new_code_cell(FIRST)
    notebook.cells.insert(0, first)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise PageFailedError(f"{name}: {error}") from None
    finally:
        notebook.cells.remove(first)


def execute_all(source: Path, processes: int = 2, execute: bool = True) -> None:
    """Run all pages of a site's source, in its place: notebooks stay notebooks, Markdown becomes one.

    Args:
        source: the folder.
        processes: how many kernels run at a time.
        execute: whether to run what is not kept from an earlier build.
    """
    paths = [p for p in sorted(source.rglob("*")) if p.suffix in {".md", ".ipynb"}]
    with ThreadPoolExecutor(processes) as pool:
        failed = [said for said in pool.map(lambda p: _finished(p, source, execute), paths) if said]
    if failed:
        raise PageFailedError("\n\n".join(failed))


def _finished(path: Path, source: Path, run: bool) -> str | None:
    name = path.relative_to(source).as_posix()
    notebook = read_page(path)
    if notebook is None:
        return None
    kept = BUILD / "executed" / f"{_fingerprint(path)}.ipynb"
    if kept.exists():
        notebook = nbformat.read(kept, as_version=4)
    elif run:
        started = time.monotonic()
        try:
            execute(notebook, ROOT / "notebooks", name)
        except PageFailedError as error:
            return str(error)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, kept)
    if path.suffix == ".md":
        path.unlink()
    nbformat.write(notebook, path.with_suffix(".ipynb"))
    return None


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() + _package()).hexdigest()[:32]


@cache
def _package() -> bytes:
    found = hashlib.sha256()
    for path in _sources():
        found.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return found.digest()


def _sources() -> Iterable[Path]:
    for folder in ("funcnet", "examples"):
        yield from sorted((ROOT / folder).rglob("*.py"))
