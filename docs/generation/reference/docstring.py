"""A docstring's parts: summary, text, sections, example, reference."""

import re
import textwrap
from dataclasses import dataclass, field

__all__ = ["Docstring", "Entry", "parse"]

LISTS = ("Args", "Attributes", "Raises", "Warns")
"""Sections of named entries."""

TEXTS = ("Shape", "Returns", "Yields", "Example", "Reference")
"""Sections of text."""

SECTION = re.compile(rf"({'|'.join(LISTS + TEXTS)}):$")
ENTRY = re.compile(r"((?:\*{0,2}[\w.]+(?:, )?)+):(?:\s+(.*))?$")
"""``name: text`` or ``name, name: text``."""


@dataclass(frozen=True)
class Entry:
    """One named thing of a section.

    Attributes:
        names: usually one.
        text: in reStructuredText.
    """

    names: tuple[str, ...]
    text: str


@dataclass
class Docstring:
    """The parts.

    Attributes:
        summary: the first paragraph, in reStructuredText like all of it.
        body: what follows it.
        lists: the entries of `Args`, `Attributes`, `Raises`, `Warns`.
        texts: those of `Shape`, `Returns`, `Yields`, `Example`.
        reference: what follows ``Reference:``.
    """

    summary: str = ""
    body: str = ""
    lists: dict[str, list[Entry]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    reference: str = ""

    @property
    def example(self) -> str:
        """The example: text and doctests."""
        return self.texts.get("Example", "")


def parse(text: str) -> Docstring:
    r"""Take a docstring apart.

    Example:
        >>> doc = parse("Add.\n\nArgs:\n    x: left.\n\n>>> 1 + 1\n2")
        >>> doc.summary, doc.lists["Args"][0].names, doc.example
        ('Add.', ('x',), '>>> 1 + 1\n2')
    """
    found = Docstring()
    body: list[str] = []
    blocks = _blocks(text)
    for heading, lines in blocks:
        content = textwrap.dedent("\n".join(lines)).strip("\n")
        if heading in LISTS:
            found.lists.setdefault(heading, []).extend(entries(content))
        elif heading == "Reference":
            found.reference = "\n".join(filter(None, [found.reference, content]))
        elif heading:
            found.texts[heading] = "\n\n".join(
                filter(None, [found.texts.get(heading, ""), content])
            )
        else:
            body.append(content)
    whole = "\n\n".join(filter(None, body))
    found.summary, _, found.body = whole.partition("\n\n")
    return found


def _blocks(text: str) -> list[tuple[str, list[str]]]:
    """Cut a docstring where sections begin: pairs of a heading, "" for plain text, and lines."""
    blocks: list[tuple[str, list[str]]] = [("", [])]
    for line in text.splitlines():
        heading = blocks[-1][0]
        if match := SECTION.match(line):
            blocks.append((match[1], []))
        elif line.startswith("Reference: "):
            blocks.append(("Reference", [line.removeprefix("Reference: ")]))
        elif line.startswith(">>>") and heading != "doctest":
            blocks.append(("doctest", [line]))
        elif heading == "Reference" and not line.strip():
            blocks.append(("", []))
        elif heading == "Reference":
            blocks[-1][1].append(line.strip())
        elif heading == "doctest":
            blocks[-1][1].append(line) if line.strip() else blocks.append(("", [""]))
        elif heading and line and not line.startswith(" "):
            blocks.append(("", [line]))
        else:
            blocks[-1][1].append(line)
    return [("Example" if h == "doctest" else h, lines) for h, lines in blocks]


def entries(text: str) -> list[Entry]:
    """Read ``name: text`` entries, each over one or more lines."""
    found: list[tuple[tuple[str, ...], list[str]]] = []
    for line in text.splitlines():
        match = None if line.startswith(" ") else ENTRY.match(line)
        if match:
            found.append((tuple(match[1].split(", ")), [match[2] or ""]))
        elif found:
            found[-1][1].append(line)
        else:
            found.append(((), [line]))
    return [
        Entry(names, "\n".join([first, textwrap.dedent("\n".join(rest))]).strip())
        for names, (first, *rest) in found
    ]
