"""Write the first sentences of each page of a built site into a script, for the page of search results."""

import json
import re
from html import unescape
from pathlib import Path

__all__ = ["summary", "write_summaries"]

MOST = 180
"""Characters."""

PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)


def summary(html: str) -> str:
    """Find the first paragraph of a page's text.

    >>> summary('<article role="main"><h1>Freeze</h1><p>Train a <em>part</em>.</p></article>')
    'Train a part.'
    """
    _, _, text = html.partition('role="main"')
    for found in PARAGRAPH.findall(text):
        words = " ".join(unescape(re.sub(r"<[^>]+>", "", found)).split())
        if len(words) > 1:
            return words if len(words) <= MOST else f"{words[:MOST].rsplit(' ', 1)[0]} …"
    return ""


def write_summaries(site: Path) -> None:
    """Write ``_static/summaries.js`` of a site's pages."""
    found = {}
    for page in sorted(site.rglob("*.html")):
        name = page.relative_to(site).with_suffix("").as_posix()
        if not name.startswith("_"):
            found[name] = summary(page.read_text())
    text = json.dumps(found, ensure_ascii=False, indent=0)
    (site / "_static" / "summaries.js").write_text(f"window.FUNCNET_SUMMARIES = {text};\n")
