"""Read a file of tables: what each name of another library is called here, and what differs."""

import re
from dataclasses import dataclass

__all__ = ["Row", "code_in", "namespaces", "rows", "written_for"]

CODE = re.compile(r"`([^`]+)`")
HEADING = re.compile(r"^## .*`([\w.]+)`")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        namespace: where the names are, ``flax.linen``.
        names: names of that library that share the line.
        here: the second column: code that does the same, or a dash.
        note: what differs, or why there is none.
    """

    namespace: str
    names: tuple[str, ...]
    here: str
    note: str


def rows(text: str) -> list[Row]:
    """Read all tables of a page; the heading above a table says the namespace in backticks.

    Raises:
        ValueError: a line of a table has not three columns, or stands under no namespace.
    """
    namespace, found = "", []
    for line in text.splitlines():
        if match := HEADING.match(line):
            namespace = match[1]
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            if len(cells) != 3 or not namespace:
                raise ValueError(f"expected `name` | here | note under a namespace, got {line!r}")
            found.append(Row(namespace, tuple(code_in(cells[0])), cells[1], cells[2]))
    return found


def namespaces(text: str) -> set[str]:
    """List the namespaces of a page."""
    return {row.namespace for row in rows(text)}


def code_in(cell: str) -> list[str]:
    """List what stands in backticks."""
    return CODE.findall(cell)


def written_for(text: str) -> tuple[str, str]:
    """Tell the library and the version that a page is written for, from its first paragraph."""
    match = re.search(r"^Written for (\w+) ([\d.]+\d)", text, re.MULTILINE)
    if not match:
        raise ValueError("expected a line 'Written for LIBRARY VERSION'")
    return match[1], match[2]
