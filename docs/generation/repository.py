"""Where files of the repository are on the site, so that links which work on GitHub work there too.

A notebook, a guide or an example has its page. Any other file that a page links to gets one under ``source/``, with the
file highlighted, a folder one with its files.
"""

import posixpath
import re
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = [
    "PAGES",
    "ROOT",
    "NameOf",
    "place_on_site",
    "rewrite_links",
    "source_page",
    "source_place",
]

ROOT = Path(__file__).parents[2]

PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "how_it_works/architecture.md",
    "CONTRIBUTING.md": "how_it_works/contributing.md",
    "CHANGELOG.md": "how_it_works/changelog.md",
    "docs": "index.md",
    "docs/guides": "guides/index.md",
    "notebooks": "learn/index.md",
    "examples": "examples/index.md",
    "examples/models": "examples/models.md",
    "examples/models/README.md": "examples/models.md",
    "examples/cluster": "examples/cluster.md",
    "examples/cluster/README.md": "examples/cluster.md",
}
"""Files and folders that have a page of their own, outside `docs`."""

PICTURES = {".png", ".svg", ".jpg", ".gif"}

LANGUAGES = {
    ".py": "python",
    ".sh": "bash",
    ".sbatch": "bash",
    ".yaml": "yaml",
    ".toml": "toml",
    ".json": "text",
    ".cpp": "cpp",
    ".h": "cpp",
    ".html": "html",
    ".js": "javascript",
}
"""What a file is highlighted as; plain text otherwise."""

NameOf = Callable[[str], str]
"""The final name of a page: one that is executed becomes a notebook."""

LINK = re.compile(r"(\]\()([^()\s]+)((?:\s+\"[^\"]*\")?\))")
"""The target of a Markdown link or picture."""

NOT_PROSE = re.compile(r"^[ ]*(`{3,}|~{3,})([^`\n]*)\n.*?^[ ]*\1[ ]*$|`[^`\n]+`", re.M | re.S)
"""Code, in blocks and in lines, where brackets are no links. A directive's block may hold prose."""


def place_on_site(path: str) -> str | None:
    """Find the page of a repository's file, or the name of a picture; None of what is not in the repository.

    >>> place_on_site("notebooks/05_data.ipynb"), place_on_site("funcnet/nn/linear.py")
    ('learn/05_data.ipynb', 'source/funcnet/nn/linear.py.md')
    >>> place_on_site("docs/howto/freeze_layers.md"), place_on_site("docs/generation/links.py")
    ('howto/freeze_layers.md', 'source/docs/generation/links.py.md')
    """
    if path in PAGES:
        return PAGES[path]
    folder, _, name = path.partition("/")
    if folder == "docs" and Path(name).suffix in {".md", ".ipynb", *PICTURES}:
        return name
    if not (ROOT / path).exists():
        return None
    if folder == "notebooks" and name.endswith(".ipynb"):
        return f"learn/{name}"
    if folder == "examples" and name.endswith(".py") and "/" not in name:
        return f"examples/{name.removesuffix('.py')}.md"
    return source_place(path)


def source_place(path: str) -> str:
    """Name the page under ``source/`` of a file or folder; the name of a picture."""
    file = ROOT / path
    if file.is_dir():
        return f"source/{path}/index.md"
    if file.suffix in PICTURES | {".md"}:
        return f"source/{path}"
    return f"source/{path}.md"


def rewrite_links(text: str, path: str, page: str, name_of: NameOf, wanted: set[str]) -> str:
    """Have the links of a Markdown text lead to pages of the site.

    Args:
        text: the Markdown.
        path: the file that it is in, in the repository: links are relative to it.
        page: its page.
        name_of: the final name of a page: one that is executed becomes a notebook.
        wanted: gets the files and folders that are linked to and have no page yet.
    """

    def replaced(match: re.Match) -> str:
        opened, target, closed = match.groups()
        if re.match(r"[a-z]+:|#|/", target):
            return match[0]
        linked, anchor, where = target.partition("#")
        linked = posixpath.normpath(posixpath.join(posixpath.dirname(path), linked))
        place = place_on_site(linked)
        if place is None:
            return match[0]
        if place.startswith("source/"):
            wanted.add(linked)
        if name_of(place) == "index.md" != place:  # a preview
            anchor = where = ""
        there = posixpath.relpath(name_of(place), posixpath.dirname(page) or ".")
        return f"{opened}{there}{anchor}{where}{closed}"

    parts, end = [], 0
    for code in NOT_PROSE.finditer(text):
        box = (code[2] or "").startswith("{") and not code[2].startswith("{code")
        shown = LINK.sub(replaced, code[0]) if box else code[0]
        parts += [LINK.sub(replaced, text[end : code.start()]), shown]
        end = code.end()
    return "".join([*parts, LINK.sub(replaced, text[end:])])


def source_page(path: str) -> str | bytes:
    """Make the page of a file or folder: highlighted, in no table of contents, found by its name alone."""
    file = ROOT / path
    hidden = "---\norphan: true\nnosearch: true\n---\n\n"
    if file.is_dir():
        return f"{hidden}# {path}\n\n{_listing(file)}\n"
    if file.suffix in PICTURES:
        return file.read_bytes()
    text = file.read_text()
    if file.suffix == ".md":
        return f"{hidden}{text}"
    return f"{hidden}# {path}\n\n```{{source-code}} {path}\n```\n"


def highlighted(path: str) -> str:
    """Show a file as a block of code."""
    text = (ROOT / path).read_text()
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"{fence}{{code-block}} {language}\n:linenos:\n\n{text.rstrip()}\n{fence}\n"


def _listing(folder: Path) -> str:
    files: Iterable[Path] = sorted(p for p in folder.iterdir() if p.name[0] not in "._")
    return "\n".join(f"- [{p.name}]({p.name})" for p in files if p.is_dir() or _is_text(p))


def _is_text(path: Path) -> bool:
    return path.suffix in LANGUAGES or path.suffix in {".md", ".txt"}
