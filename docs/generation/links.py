"""Check the links of a built site: every file and every anchor that a page of it names is there."""

import re
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["check_links", "external_links"]

TAG = re.compile(r"<[a-zA-Z][^<>]*>")
ADDRESS = re.compile(r"\s(?:href|src)=[\"']([^\"']*)[\"']")
NAME = re.compile(r"\s(?:id|name)=[\"']([^\"']*)[\"']")
EXTERNAL = re.compile(r"(https?:)?//|[a-z][a-z0-9+.-]*:")
PROPER = re.compile(
    r"https?://[\w.-]+\.[a-z]{2,}(:\d+)?(/[^\s<>\"]*)?(\?[^\s<>\"]*)?(#[^\s<>\"]*)?"
)
"""An address of the web that can be one: a host with a dot, no spaces or brackets."""

COMMENT = re.compile(r"<!--.*?-->|<script\b.*?</script>", re.DOTALL)


def check_links(site: Path) -> list[str]:
    """Find what is broken in the HTML files of a folder.

    Returns:
        a line for each broken link: the page, the link, what is wrong.
    """
    anchors: dict[Path, set[str]] = {}
    links: list[tuple[Path, str]] = []
    for page in sorted(site.rglob("*.html")):
        text = page.read_text()
        tags = TAG.findall(COMMENT.sub(_scripts_address, text))
        anchors[page] = {unescape(n) for tag in tags for n in NAME.findall(tag)}
        found = dict.fromkeys(unescape(a) for tag in tags for a in ADDRESS.findall(tag))
        links += [(page, address) for address in found]
    wrong = []
    for page, address in links:
        if said := _wrong(page, address, site, anchors):
            wrong.append(f"{page.relative_to(site)}: {address}: {said}")
    return wrong


def external_links(site: Path) -> dict[str, list[str]]:
    """List the addresses of other hosts that pages link to, with the pages."""
    found: dict[str, list[str]] = {}
    for page in sorted(site.rglob("*.html")):
        for address in _addresses(page.read_text()):
            if address.startswith("http"):
                found.setdefault(address, []).append(page.relative_to(site).as_posix())
    return found


def _addresses(text: str) -> Iterable[str]:
    tags = TAG.findall(COMMENT.sub(_scripts_address, text))
    return dict.fromkeys(unescape(a) for tag in tags for a in ADDRESS.findall(tag))


def _scripts_address(match: re.Match) -> str:
    """Keep the opening tag of a script, not what it holds."""
    return match[0][: match[0].index(">") + 1] if match[0].startswith("<script") else ""


def _wrong(page: Path, address: str, site: Path, anchors: dict[Path, set[str]]) -> str | None:
    if EXTERNAL.match(address):
        if address.startswith("http") and not PROPER.fullmatch(address):
            return "no address of the web"
        return "an address without http" if address.startswith("//") else None
    parts = urlsplit(address)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(site.resolve()):
        return "leads out of the site"
    if not target.is_file():
        return "there is no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in anchors and anchor not in anchors[target]:
        return "the page has no such anchor"
    return None
