"""The reference: a page for each public name, from its docstring and its source, and an index for each namespace.

The pages are text, so that tests read them without Sphinx; `docs.extensions.references` resolves the names in them.
"""

from docs.generation.names import public_names
from docs.generation.reference.indexes import index_pages
from docs.generation.reference.page import page
from docs.generation.reference.types import types_page

__all__ = ["pages"]


def pages() -> dict[str, str]:
    """Make the pages, by path."""
    found = {f"{n.page}.rst": page(n) for n in public_names() if n.kind != "module"}
    return {**found, **index_pages(), "reference/types.rst": types_page()}
