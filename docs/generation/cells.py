"""Read pages as cells: prose, and code that is run. Needs the standard library alone."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cell", "PageError", "is_executed", "read_cells", "split_front_matter"]

OPENING = re.compile(r"^(`{3,})\{code-cell\}[ \t]*(\w*)[ \t]*$")
FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,}|:{3,})")
OPTION = re.compile(r"^:([a-z-]+):[ \t]*(.*)$")


class PageError(Exception):
    """A page is not written as it must be; the message has its name and line."""


@dataclass(frozen=True)
class Cell:
    """One cell of a page.

    Attributes:
        text: prose in Markdown, or code.
        is_code: whether it is code that is run.
        tags: of code: ``raises-exception``, ``remove-cell``, ``hide-output``, ...
        line: where it begins in its file, from 1; the number of the cell in a notebook.
    """

    text: str
    is_code: bool
    tags: tuple[str, ...] = ()
    line: int = 1

    @property
    def fails(self) -> bool:
        """Whether the code is to raise an error."""
        return "raises-exception" in self.tags


def is_executed(path: str, content: bytes) -> bool:
    """Tell whether a page has code to run."""
    return path.endswith(".ipynb") or (path.endswith(".md") and b"```{code-cell}" in content)


def read_cells(path: str | Path, content: bytes | None = None) -> list[Cell]:
    """Read a notebook or a Markdown page.

    Args:
        path: the file's name; it is read where there is no `content`.
        content: what the file holds.

    Raises:
        PageError: a cell is not closed, has an option that is not known, or stands inside another block.
    """
    path = Path(path)
    text = (path.read_bytes() if content is None else content).decode()
    return _of_notebook(text) if path.suffix == ".ipynb" else _of_markdown(text, path.as_posix())


def split_front_matter(text: str) -> tuple[str, str]:
    """Split a Markdown page into its front matter, without the dashes, and the rest."""
    found = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    return (found[1], text[found.end() :]) if found else ("", text)


def _of_notebook(text: str) -> list[Cell]:
    cells = json.loads(text)["cells"]
    return [
        Cell(
            "".join(cell["source"]),
            cell["cell_type"] == "code",
            tuple(cell["metadata"].get("tags", ())),
            number,
        )
        for number, cell in enumerate(cells, 1)
    ]


def _of_markdown(text: str, name: str) -> list[Cell]:
    cells: list[Cell] = []
    prose: list[str] = []
    outer = None  # the fence of a block that is no cell
    lines = iter(enumerate(text.splitlines(), 1))
    begins = 1
    for number, line in lines:
        opened = OPENING.match(line)
        if opened and outer is None:
            if any(prose):
                cells.append(Cell("\n".join(prose).strip("\n"), False, line=begins))
            code = _until(opened[1], lines, f"{name}, line {number}")
            cells.append(_code_cell(code, number, f"{name}, line {number}"))
            prose, begins = [], number + len(code) + 2
            continue
        if opened and outer and outer[0] == ":":
            raise PageError(f"{name}, line {number}: a cell stands at the page's outermost level")
        if fence := FENCE.match(line):
            if outer is None:
                outer = fence[1]
            elif fence[1].startswith(outer) and not line.strip().strip(fence[1][0]):
                outer = None
        prose.append(line)
    if any(prose):
        cells.append(Cell("\n".join(prose).strip("\n"), False, line=begins))
    return cells


def _until(fence: str, lines: Iterator[tuple[int, str]], place: str) -> list[str]:
    code = []
    for _, line in lines:
        if line.rstrip() == fence:
            return code
        code.append(line)
    raise PageError(f"{place}: the cell is not closed by {fence}")


def _code_cell(code: list[str], line: int, place: str) -> Cell:
    tags: list[str] = []
    while code and (option := OPTION.match(code[0])):
        if option[1] != "tags":
            raise PageError(f"{place}: a cell has tags, and no option {option[1]!r}")
        tags = [tag.strip() for tag in option[2].strip("[] ").split(",")]
        code = code[1:]
    return Cell("\n".join(code).strip("\n"), True, tuple(tags), line)
