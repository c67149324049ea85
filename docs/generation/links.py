"""Check the links of a built site: every file and every anchor that a page of it names is there."""

import os
import re
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Links"]

TAG = re.compile(r"<[a-zA-Z][^<>]*>")
ADDRESS = re.compile(r"\s(?:href|src)=[\"']([^\"']*)[\"']")
NAME = re.compile(r"\s(?:id|name)=[\"']([^\"']*)[\"']")
EXTERNAL = re.compile(r"(https?:)?//|[a-z][a-z0-9+.-]*:")
PROPER = re.compile(
    r"https?://[\w.-]+\.[a-z]{2,}(:\d+)?(/[^\s<>\"]*)?(\?[^\s<>\"]*)?(#[^\s<>\"]*)?"
)
"""An address of the web that can be one: a host with a dot, no spaces or brackets."""

COMMENT = re.compile(r"<!--.*?-->|<script\b.*?</script>", re.DOTALL)


@dataclass
class Links:
    """What the pages of a site have.

    Attributes:
        site: the folder.
        anchors: the names in each page that a link may lead to.
        found: each page with an address that is in it, once.
    """

    site: Path
    anchors: dict[Path, set[str]] = field(default_factory=dict)
    found: list[tuple[Path, str]] = field(default_factory=list)

    @classmethod
    def read(cls, site: Path) -> "Links":
        """Read all HTML files of a folder."""
        links = cls(site)
        for page in sorted(site.rglob("*.html")):
            tags = TAG.findall(COMMENT.sub(_scripts_address, page.read_text()))
            links.anchors[page] = {unescape(n) for tag in tags for n in NAME.findall(tag)}
            addresses = dict.fromkeys(unescape(a) for tag in tags for a in ADDRESS.findall(tag))
            links.found += [(page, address) for address in addresses]
        return links

    def broken(self) -> list[str]:
        """Find what is broken: a line for each, with the page, the link, and what is wrong."""
        return [
            f"{page.relative_to(self.site)}: {address}: {said}"
            for page, address in self.found
            if (said := self._wrong(page, address))
        ]

    def external(self) -> dict[str, list[str]]:
        """List the addresses of other hosts, with the pages that link to them."""
        listed: dict[str, list[str]] = {}
        for page, address in self.found:
            if address.startswith("http"):
                listed.setdefault(address, []).append(page.relative_to(self.site).as_posix())
        return listed

    def _wrong(self, page: Path, address: str) -> str | None:
        if EXTERNAL.match(address):
            if address.startswith("http") and not PROPER.fullmatch(address):
                return "no address of the web"
            return "an address without http" if address.startswith("//") else None
        parts = urlsplit(address)
        path = unquote(parts.path)
        target = Path(os.path.normpath(page.parent / path)) if path else page
        if target == self.site.parent / "versions.js":
            return None  # it is written where the site is published
        if not target.is_relative_to(self.site):
            return "leads out of the site"
        if target not in self.anchors and not target.is_file():
            return "there is no such file"
        anchor = unquote(parts.fragment)
        if anchor and target in self.anchors and anchor not in self.anchors[target]:
            return "the page has no such anchor"
        return None


def _scripts_address(match: re.Match) -> str:
    """Keep the opening tag of a script, not what it holds."""
    return match[0][: match[0].index(">") + 1] if match[0].startswith("<script") else ""
