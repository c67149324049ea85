"""Write the first sentences of each page of a built site into a script, for the page of search results."""

import json
import re
from html import unescape
from pathlib import Path

__all__ = ["summary", "write_summaries"]

MOST = 180
"""Characters."""

PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)


def names() -> dict[str, str]:
    """Say what each public name is, by page: its docstring's first sentence, formulas as in the source."""
    from docs.generation.names import public_names
    from docs.generation.reference.related import first_line

    return {n.page: short(_plain(first_line(n))) for n in public_names()}


def _plain(text: str) -> str:
    return " ".join(re.sub(r"`+|:\w+:(?=`)", "", text).split())


def short(words: str) -> str:
    """Cut a text where it is long."""
    return words if len(words) <= MOST else f"{words[:MOST].rsplit(' ', 1)[0]} …"


def summary(html: str) -> str:
    """Find the first paragraph of a page's text.

    >>> summary('<article role="main"><h1>Freeze</h1><p>Train a <em>part</em>.</p></article>')
    'Train a part.'
    """
    _, _, text = html.partition('role="main"')
    for found in PARAGRAPH.findall(text):
        words = " ".join(unescape(re.sub(r"<[^>]+>", "", found)).split())
        if len(words) > 1:
            return short(words)
    return ""


def write_summaries(site: Path) -> None:
    """Write ``_static/summaries.js`` of a site's pages."""
    found = {}
    of_names = names()
    for page in sorted(site.rglob("*.html")):
        name = page.relative_to(site).with_suffix("").as_posix()
        if not name.startswith("_"):
            found[name] = of_names.get(name) or summary(page.read_text())
    text = json.dumps(found, ensure_ascii=False, indent=0)
    (site / "_static" / "summaries.js").write_text(f"window.FUNCNET_SUMMARIES = {text};\n")
