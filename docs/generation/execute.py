"""Run notebooks, and Markdown pages with ``{code-cell}``, each in a fresh kernel; keep what they show.

What a page shows is kept under a hash of its code and of the package: it runs again whenever something changed that it
could show, and not when its prose did. A cell that is to fail has the tag ``raises-exception``; any other error fails
the build.
"""

import hashlib
import importlib.metadata
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from docs.generation.assemble import BUILD, ROOT
from docs.generation.cells import PageError, is_executed, read_cells, split_front_matter

__all__ = ["NOTEBOOKS", "PageFailedError", "execute", "execute_all", "to_notebook"]

NOTEBOOKS = ROOT / "notebooks"
"""Where pages run."""

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

ARGUMENTS = [
    "--InteractiveShell.xmode=Minimal",  # an error is its message: the traceback would be the kernel's
    "--Application.log_level=ERROR",
]
"""Of the kernel."""


CELL = re.compile(r"\S*ipykernel_\d+\S*\.py:\d+")
"""What an error calls a cell: the name differs from run to run."""

LINE = re.compile(r"(?:ipykernel_\d+/|\b)\d{5,}\.py:(\d+)")
"""What reports call a line of a cell: with the number of a process and a hash."""


class PageFailedError(Exception):
    """A cell of a page raised; the message has the page, the cell and the error."""


def to_notebook(name: str, content: bytes) -> NotebookNode:
    """Make a notebook of a page's text, which may be one."""
    if name.endswith(".ipynb"):
        return nbformat.reads(content.decode(), as_version=4)
    front, text = split_front_matter(content.decode())
    notebook = nbformat.v4.new_notebook(metadata={**KERNEL, **(yaml.safe_load(front) or {})})
    for number, cell in enumerate(read_cells(name, text.encode())):
        make = nbformat.v4.new_code_cell if cell.is_code else nbformat.v4.new_markdown_cell
        metadata = {"tags": list(cell.tags)} if cell.tags else {}
        notebook.cells.append(make(cell.text, metadata=metadata, id=f"cell-{number}"))
    return notebook


def execute(notebook: NotebookNode, name: str) -> None:
    """Run a notebook from the top, in a fresh kernel, on the CPU.

    Raises:
        PageFailedError: a cell raised, and has no tag ``raises-exception``.
    """
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        extra_arguments=ARGUMENTS,
        record_timing=False,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    environment = {"JAX_PLATFORMS": "cpu", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise PageFailedError(_explained(notebook, name, error)) from None
    except Exception as error:  # the kernel died, or the cell took too long
        raise PageFailedError(f"{name}: {type(error).__name__}: {error}") from error
    for cell in _code_of(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                output.traceback = [CELL.sub("this cell", line) for line in output.traceback]


def execute_all(
    pages: Mapping[str, bytes], processes: int = 2, execute: bool = True
) -> dict[str, bytes]:
    """Run all pages that have code: each becomes a notebook with what it shows.

    Args:
        pages: what the pages hold, by path.
        processes: how many kernels run at a time.
        execute: whether to run what is not kept from an earlier build.

    Raises:
        PageFailedError: some pages failed or are not written as they must be; the message has them all.
    """
    chosen = {name for name, content in pages.items() if is_executed(name, content)}
    finished = {name: content for name, content in pages.items() if name not in chosen}
    failed: list[str] = []

    def run(name: str) -> None:
        try:
            notebook = _with_outputs(name, pages[name], execute)
        except (PageFailedError, PageError) as error:
            failed.append(str(error))
        else:
            finished[str(Path(name).with_suffix(".ipynb"))] = nbformat.writes(notebook).encode()

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(run, sorted(chosen)))
    if failed:
        raise PageFailedError("\n\n".join(sorted(failed)))
    return finished


def _with_outputs(name: str, content: bytes, run: bool) -> NotebookNode:
    notebook = to_notebook(name, content)
    kept = BUILD / "executed" / f"{_fingerprint(notebook)}.ipynb"
    if run and not kept.exists():
        started = time.monotonic()
        executed = to_notebook(name, content)
        execute(executed, name)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(f".{os.getpid()}.part")
        nbformat.write(executed, beside)
        beside.replace(kept)
    if kept.exists():
        outputs = nbformat.read(kept, as_version=4)
        for cell, shown in zip(_code_of(notebook), _code_of(outputs), strict=True):
            cell.outputs, cell.execution_count = shown.outputs, shown.execution_count
            for output in cell.outputs:
                if "traceback" in output:
                    output.traceback = [LINE.sub(r"cell:\1", line) for line in output.traceback]
                elif "text" in output:
                    output.text = with_lines_of_cells(output.text)
                elif "text/plain" in output.get("data", {}):
                    output.data["text/plain"] = with_lines_of_cells(output.data["text/plain"])
    return notebook


def with_lines_of_cells(text: str) -> str:
    r"""Name a line of a cell without noise; rules of tables get no longer than what they are between.

    >>> print(with_lines_of_cells("operation  line\n" + "─" * 33 + "\nlog        ipykernel_42/565035454.py:10"))
    operation  line
    ──────────────────
    log        cell:10
    """
    named = LINE.sub(r"cell:\1", text)
    if named == text:
        return text
    lines = named.splitlines(keepends=True)
    widest = max((len(line.rstrip()) for line in lines if set(line.strip()) != {"─"}), default=0)
    return "".join(
        re.sub("─+", lambda r: r[0][:widest], line) if set(line.strip()) == {"─"} else line
        for line in lines
    )


def _code_of(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _explained(notebook: NotebookNode, name: str, error: CellExecutionError) -> str:
    """Say which cell failed with what; where a package is missing, what to install."""
    number, code = 0, ""
    for count, cell in enumerate(_code_of(notebook), 1):
        tagged = "raises-exception" in cell.metadata.get("tags", ())
        if not tagged and any(shown.output_type == "error" for shown in cell.outputs):
            number = count
            code = "".join(f"    {line}\n" for line in cell.source.splitlines())
            break
    place = f"{name}, code cell {number}"
    said = re.sub(r"\x1b\[[0-9;]*m", "", error.evalue)
    if error.ename == "ModuleNotFoundError":
        return f'{place} needs a package that is not installed ({said}): pip install -e ".[docs]"'
    return f"{place} raised {error.ename}: {said}\n{code}"


def _fingerprint(notebook: NotebookNode) -> str:
    code = repr([(cell.source, cell.metadata.get("tags", [])) for cell in _code_of(notebook)])
    return hashlib.sha256(code.encode() + _package()).hexdigest()[:32]


@cache
def _package() -> bytes:
    jax = importlib.metadata.version("jax")
    found = hashlib.sha256(f"{sys.version_info[:2]} {jax}".encode())
    for path in _sources():
        found.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return found.digest()


def _sources() -> Iterable[Path]:
    for folder in ("funcnet", "examples"):
        yield from sorted((ROOT / folder).rglob("*.py"))
