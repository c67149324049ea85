"""Pieces of reStructuredText: headings, lists of named entries."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from docs.generation.names import resolve
from docs.generation.reference.docstring import Docstring, Entry
from docs.generation.reference.signature import Argument, signature

__all__ = ["heading", "indented", "row", "sections", "table"]


def heading(text: str, line: str = "") -> str:
    """Write a heading: of a section, or, without a line to draw, one that no table of contents lists."""
    return (
        f"{text}\n{line * len(text)}"
        if line
        else f".. rubric:: {text}\n   :class: reference-rubric"
    )


def indented(text: str, by: int = 3) -> str:
    """Move text to the right."""
    return textwrap.indent(text, " " * by)


def table(rows: str) -> str:
    """Write a table of names and what they do, of its `row` lines."""
    return f".. list-table::\n   :class: reference-index\n   :widths: 36 64\n\n{rows}"


def row(left: str, right: str) -> str:
    """Write one line of a table."""
    return f"   * - {left}\n     - {indented(right, 7).strip()}"


def sections(
    doc: Docstring, value: Any, fields: Mapping[str, Argument], line: str = "-", bound: bool = False
) -> list[str]:
    """Write a docstring's sections in their order.

    Args:
        doc: the docstring.
        value: what it documents.
        fields: types of attributes, by name; those without text are listed where the signature does not show them.
        line: what headings are underlined with.
        bound: whether it documents a method.
    """
    found = signature(value, bound)
    arguments = {a.name.strip("*"): a for a in found.arguments} if found else {}
    attributes = list(doc.lists.get("Attributes", []))
    told = {name for entry in attributes for name in entry.names}
    told |= {n.strip("*") for entry in doc.lists.get("Args", []) for n in entry.names}
    attributes += [Entry((n,), "") for n in fields if n not in told and n not in arguments]
    shown = [
        _text("Shape", doc.texts.get("Shape", ""), line),
        _list("Arguments", doc.lists.get("Args", []), arguments, line),
        _list("Attributes", attributes, fields, line),
        _text("Returns", doc.texts.get("Returns", ""), line),
        _text("Yields", doc.texts.get("Yields", ""), line),
        _list("Raises", doc.lists.get("Raises", []), {}, line),
        _list("Warns", doc.lists.get("Warns", []), {}, line),
    ]
    return [part for part in shown if part]


def _list(
    title: str, entries: Iterable[Entry], arguments: Mapping[str, Argument], line: str
) -> str:
    rows = [_entry(entry, arguments) for entry in entries]
    if not rows:
        return ""
    listed = "\n\n".join(rows)
    return f"{heading(title, line)}\n\n.. rst-class:: reference-list\n\n{listed}"


def _entry(entry: Entry, arguments: Mapping[str, Argument]) -> str:
    if not entry.names:
        return f"..\n\n{entry.text}"
    term = ", ".join(_name(n) for n in entry.names)
    first = arguments.get(entry.names[0].strip("*"))
    if first and first.type:
        term += f" : :type:`{first.type}`"
    if first and first.default is not None:
        term += f" : = ``{first.default}``"
    return f"{term}\n{indented(entry.text or '..')}"


def _name(name: str) -> str:
    """Write the name of an entry: of an error of this package with a link."""
    found = resolve(name) if name.endswith("Error") else None
    return f":py:obj:`{name} <{found.short}>`" if found else f"``{name}``"


def _text(title: str, text: str, line: str) -> str:
    return f"{heading(title, line)}\n\n{text}" if text else ""
