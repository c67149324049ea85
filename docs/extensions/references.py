"""Resolve the names that docstrings and pages write in single backticks, and those of types in signatures."""

import re
from functools import cache
from typing import Any

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.typing import ExtensionMetadata

from docs.generation.names import PublicName, public_names
from docs.generation.reference.mentions import elsewhere, find, is_known

TYPE = r"([A-Za-z_][\w.]*)"


def link(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.Element
) -> nodes.Element | None:
    """Find what a name means: a page, a method on it, another project's page, or a name that needs no link."""
    if node.get("refdomain") != "py":
        return None
    target, page = node["reftarget"], node.get("refdoc", "")
    here = _by_page().get(page)
    found, anchor = find(target, here)
    if found and not (here is found and not anchor):
        uri = app.builder.get_relative_uri(page, found.page) + anchor
        return nodes.reference("", "", shown, internal=True, refuri=uri, reftitle=found.path)
    if url := elsewhere(target):
        return nodes.reference("", "", shown, internal=False, refuri=url, reftitle=target)
    if found or is_known(target, here) or node["reftype"] != "obj":
        return shown
    return None


def type_role(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Inliner,
    options: Any = None,
    content: Any = (),
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Write a type as code whose names are links: ``:type:`dict[str, Array] | None` ``."""
    whole = nodes.inline("", "", classes=["reference-type"])
    docname = inliner.document.settings.env.current_document.docname
    for part in re.split(TYPE, text):
        if re.fullmatch(TYPE, part):
            ref = addnodes.pending_xref(
                "", nodes.Text(part), refdomain="py", reftype="class", reftarget=part, refdoc=docname,
                refexplicit=False, refwarn=False,
            )  # fmt: skip
            whole += ref
        elif part:
            whole += nodes.Text(part)
    return [whole], []


def as_written(app: Sphinx, doctree: nodes.document) -> None:
    """Take names as they are written: Sphinx would take any that ends so, and finds several."""
    for node in doctree.findall(addnodes.pending_xref):
        if node.get("refdomain") == "py":
            node.attributes.pop("refspecific", None)


@cache
def _by_page() -> dict[str, PublicName]:
    return {name.page: name for name in public_names()}


def neighbours(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Give a reference page its predecessor and successor: it is in no table of contents."""
    here = _by_page().get(pagename)
    if here is None or here.kind == "module":
        return
    rows = [n for n in public_names() if n.namespace == here.namespace and n.kind != "module"]
    at = rows.index(here)
    for key, place in (("prev", at - 1), ("next", at + 1)):
        if 0 <= place < len(rows):
            uri = app.builder.get_relative_uri(pagename, rows[place].page)
            context[key] = {"link": uri, "title": rows[place].short}


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to Sphinx."""
    app.add_role("type", type_role)
    app.add_css_file("reference.css")
    app.connect("doctree-read", as_written)
    app.connect("missing-reference", link)
    app.connect("html-page-context", neighbours, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
