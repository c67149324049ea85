"""Pages of source code, and the role ``:source:`` that links to a line of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole
from sphinx.util.typing import ExtensionMetadata

from docs.generation.assemble import ROOT
from docs.generation.names import public_names
from docs.generation.reference import source

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


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make a page for each file that defines a public name."""
    formatter = HtmlFormatter(linenos="inline", lineanchors="line", anchorlinenos=True)
    for file in sorted({source.place(n).file for n in public_names()}):
        code = highlight(Path(ROOT / file).read_text(), PythonLexer(), formatter)
        title = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        yield _page(file), {"title": title, "body": f"<h1>{title}</h1>\n{code}"}, "page.html"


def _page(file: str) -> str:
    return f"{FOLDER}/{file.removesuffix('.py')}"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to Sphinx."""
    app.add_role("source", SourceRole())
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
