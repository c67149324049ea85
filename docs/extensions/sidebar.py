"""The sidebar of the many pages of the reference and of source code: rooms alone, and what is in theirs.

All pages in every sidebar would be half of what the site weighs; and of a thousand names a sidebar can show none.
"""

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import ExtensionMetadata

SHORT = ("reference", "source")
"""Folders whose pages get a short tree."""


def shorten(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Replace furo's tree of all pages, where a page is one of many."""
    if page.partition("/")[0] in SHORT and "furo_navigation_tree" in context:
        context["furo_navigation_tree"] = tree(app.env, page, context["pathto"])


def tree(env: BuildEnvironment, page: str, address: Any) -> str:
    """Write the rooms as a list; below the one that a page is in, its own."""
    shown = []
    for room in env.toctree_includes.get(env.config.root_doc, []):
        here = page.partition("/")[0] == room.partition("/")[0]
        inner = [
            _item(env, sub, 2, _contains(sub, page), address)
            for sub in env.toctree_includes.get(room, [])
            if here
        ]
        below = f"<ul>{''.join(inner)}</ul>" if inner else ""
        shown.append(_item(env, room, 1, page == room, address, below))
    return f"<ul>{''.join(shown)}</ul>"


def _contains(room: str, page: str) -> bool:
    """Whether a page is the room's: ``reference/nn/index`` has ``reference/nn/Linear``."""
    return page == room or (
        room.endswith("/index") and page.startswith(f"{room.removesuffix('index')}")
    )


def _item(
    env: BuildEnvironment, page: str, level: int, current: bool, address: Any, below: str = ""
) -> str:
    classes = " current current-page" if current else ""
    title = escape(env.titles[page].astext())
    link = f'<a class="reference internal" href="{address(page)}">{title}</a>'
    return f'<li class="toctree-l{level}{classes}">{link}{below}</li>'


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to Sphinx, after furo."""
    app.connect("html-page-context", shorten, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
