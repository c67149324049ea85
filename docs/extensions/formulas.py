"""Show the formulas of docstrings as mathematics, on the reference's HTML pages; other builders keep the text."""

import re
from collections.abc import Sequence
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from docs.formulas.latex import latex, lines, width
from docs.formulas.parse import parse
from docs.formulas.recognize import is_formula, letters

__all__ = ["Formulas", "place_formulas", "setup"]

PHONE = 28
"""How many letters of a formula within a line a phone shows; the stylesheet lets a wider one scroll."""

SEPARATOR = re.compile(r"[\s,;]*(and\s+)?")
"""What may stand between formulas that are shown one below the other."""


class Formulas(SphinxPostTransform):
    """Runs where HTML is made, when references are resolved."""

    default_priority = 500
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Change a page of the reference."""
        if self.env.current_document.docname.startswith("reference/"):
            place_formulas(self.document)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.add_post_transform(Formulas)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def place_formulas(document: nodes.document) -> None:
    """Turn what is mathematics into formulas: those that define something into displays."""
    literals = [each for each in document.findall(nodes.literal) if _may_be_formula(each)]
    known = frozenset().union(
        *(letters(parse(each.astext())) for each in literals if is_formula(each.astext()))
    )
    arguments = frozenset(
        name.astext()
        for signature in list(document.findall(addnodes.desc_signature))[:1]
        for parameter in signature.findall(addnodes.desc_parameter)
        for name in list(parameter.findall(addnodes.desc_sig_name))[:1]
    )
    formulas = {id(each) for each in literals if is_formula(each.astext(), known, arguments)}
    for paragraph in list(document.findall(nodes.paragraph)):
        if isinstance(paragraph.parent, nodes.section | addnodes.desc_content):
            _display(paragraph, formulas, "reference-summary" in paragraph["classes"])
    for each in literals:
        if id(each) in formulas and each.parent is not None:
            written = latex(each.astext())
            wide = ["wide"] if width(written) > PHONE else []
            each.replace_self(nodes.math(written, written, classes=wide))


def _may_be_formula(literal: nodes.literal) -> bool:
    return not literal["classes"] and not isinstance(
        literal.parent, nodes.reference | addnodes.pending_xref | addnodes.download_reference
    )


def _display(paragraph: nodes.paragraph, formulas: set[int], first: bool) -> None:
    """Take a paragraph apart where its formulas define what it is about.

    These are a run of formulas after the colon of a summary, with none behind them, and a run at the beginning of a
    further paragraph, up to a comma, a semicolon or the end.
    """
    children = list(paragraph.children)
    start = 0
    if first:
        start = next((i for i, e in enumerate(children) if id(e) in formulas), 0)
        if start == 0 or not children[start - 1].astext().rstrip().endswith(":"):
            return
    end = start
    while end < len(children) and id(children[end]) in formulas:
        end += 2 if _joins(children[end + 1 : end + 3], formulas) else 1
    if end == start or any(id(each) in formulas for each in children[end:] if first):
        return
    rest = "".join(each.astext() for each in children[end:])
    if not first and rest.strip() and rest[0] not in ",;.":
        return
    shown = [each.astext() for each in children[start:end] if id(each) in formulas]
    block = nodes.math_block("", _aligned(shown), number=None, label=None, nowrap=False)
    block["no-wrap"] = False
    pieces: list[nodes.Node] = [block]
    if start:
        pieces.insert(0, nodes.paragraph("", "", *children[:start], classes=paragraph["classes"]))
    if tail := _without_sign(children[end:]):
        pieces.append(nodes.paragraph("", "", *tail, classes=paragraph["classes"]))
    paragraph.replace_self(pieces)


def _joins(following: Sequence[nodes.Node], formulas: set[int]) -> bool:
    """Whether a sign alone stands between a formula and the next one."""
    if len(following) < 2 or id(following[1]) not in formulas:
        return False
    return SEPARATOR.fullmatch(following[0].astext()) is not None


def _without_sign(rest: Sequence[nodes.Node]) -> list[nodes.Node]:
    """Take what follows a display, without the sign that ended the formula."""
    if not rest:
        return []
    text = rest[0].astext()
    if not isinstance(rest[0], nodes.Text):
        return list(rest)
    ended, text = text[:1], text.lstrip(",;. \n")
    text = text[:1].upper() + text[1:] if ended == ";" else text
    return [*([nodes.Text(text)] if text else []), *rest[1:]]


def _aligned(formulas: Sequence[str]) -> str:
    """Write formulas one below the other, their equality signs too."""
    rows = [line for formula in formulas for line in lines(formula)]
    if len(rows) == 1:
        return rows[0].replace("&= ", "= ")
    return " \\\\\n".join(row if "&" in row else f"& {row}" for row in rows)
