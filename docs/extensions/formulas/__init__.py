"""Show the formulas of docstrings as mathematics.

Docstrings are read in terminals: their formulas are Unicode in double backticks, ``y = x Wᵀ + b``. On the site's HTML
pages MathJax sets them; other builders keep the text. A formula is read by `parse`, told from code by `recognize`, and
written in LaTeX by `latex`; `place` says which of them get a line of their own.
"""

from typing import Any

from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from docs.extensions.formulas.place import place_formulas

__all__ = ["Formulas", "setup"]


class Formulas(SphinxPostTransform):
    """Run on the reference, where HTML is made, when references are resolved."""

    default_priority = 500
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change the page."""
        if self.env.current_document.docname.startswith("reference/"):
            place_formulas(self.document)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.add_post_transform(Formulas)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
