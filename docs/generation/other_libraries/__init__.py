"""Make the pages that say what each public name of another library is called here.

The tables are written by people, in ``docs/coming_from/names``; here every name of funcnet in them becomes a link to
its page in the reference. `table` reads them, and ``tests/docs/coming_from/test_names_of_others.py``
compares them with the installed libraries.
"""

from docs.generation.assemble import DOCS
from docs.generation.other_libraries.links import linked

__all__ = ["FOLDER", "pages"]

FOLDER = DOCS / "coming_from" / "names"
"""Where the tables are: a file for each library."""


def pages() -> dict[str, str]:
    """Make the pages, by path."""
    return {f"coming_from/names/{p.name}": linked(p.read_text()) for p in FOLDER.glob("*.md")}
