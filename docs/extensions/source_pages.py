"""Pages of source code, and the role ``:source:`` that links to a line of them.

A file that a page links to has a page already, with the directive ``source-code``. All have the same place, ``source/``
and the file's path, and the same look: ``line-17`` is the anchor of line 17, and the stylesheet counts the lines.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.typing import ExtensionMetadata

from docs.generation.names import public_names
from docs.generation.reference import source
from docs.generation.repository import LANGUAGES, ROOT

FOLDER = "source"


class SourceRole(SphinxRole):
    """Link to a line: ``:source:`funcnet/nn/linear.py:17` ``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Make the link; builders without pages of HTML get the text."""
        file, _, line = self.text.partition(":")
        if self.env.app.builder.format != "html":
            return [nodes.literal("", self.text)], []
        page = self.env.app.builder.get_relative_uri(self.env.docname, _page(file))
        uri = f"{page}#line-{line}" if line else page
        return [
            nodes.reference(
                "",
                "source",
                internal=True,
                refuri=uri,
                reftitle=self.text,
                classes=["reference-source"],
            )
        ], []


class SourceCode(SphinxDirective):
    """Show a file of the repository: ``{source-code} funcnet/nn/linear.py``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the block."""
        return [nodes.raw("", highlighted(self.arguments[0]), format="html")]


@cache
def highlighted(file: str) -> str:
    """Write a file as HTML, an anchor a line."""
    place = Path(ROOT / file)
    lexer = get_lexer_by_name(LANGUAGES.get(place.suffix, "text"))
    formatter = HtmlFormatter(linespans="line", cssclass="highlight source-code")
    return highlight(place.read_text(), lexer, formatter)


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make a page for each file that defines a public name and has none."""
    for file in sorted({source.place(n).file for n in public_names()}):
        if _page(file) not in app.env.found_docs:
            yield (
                _page(file),
                {"title": file, "body": f"<h1>{file}</h1>\n{highlighted(file)}"},
                "page.html",
            )


def _page(file: str) -> str:
    return f"{FOLDER}/{file}"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to Sphinx."""
    app.add_role("source", SourceRole())
    app.add_directive("source-code", SourceCode)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
